"""OAuth tokens out of a file that the operator owns, kept fresh there.

Floor 2.

    layout.py   which field is which, in every vendor's layout; the same document with new tokens in it
    disk.py     reading, replacing and locking the file
    refresh.py  the request to the token endpoint
    file.py     `TokenFile`: when to do which of these
"""

from fkproxy.adapters.token_file.file import TokenFile

__all__ = ["TokenFile"]
