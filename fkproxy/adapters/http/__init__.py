"""The upstream HTTP/1.1 client: asyncio for the sockets, httptools for the parsing, nothing per request that is not needed.

Floor 2. The only home of httptools.

    origin.py      a base URL, parsed once; header blocks
    hostname.py    a host's name as it is resolved and sent
    proxy.py       which proxy, if any, a request goes through
    resolver.py    names, in threads of our own
    connect.py     name → socket → tunnel → TLS, under one deadline; every foreign exception is mapped here
    connection.py  one connection and the reply that is under way on it
    client.py      the pools, and the front door

Why an own client: docs/decisions/0004-http-client.md.
"""

from fkproxy.adapters.http.client import HttpClient, HttpStats
from fkproxy.adapters.http.connect import default_ssl_context
from fkproxy.adapters.http.origin import Address, Origin, header_block
from fkproxy.adapters.http.proxy import Proxies

__all__ = ["Address", "HttpClient", "HttpStats", "Origin", "Proxies", "default_ssl_context", "header_block"]
