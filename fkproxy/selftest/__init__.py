"""Does this program do what it promises, on this host, from this file, without a network? Floor 4.

quick.py      once the whole way: start, key, answer, stream, end
matrix.py     every client dialect towards every upstream dialect
cases.py      what is tried in each
asking.py     a client of any dialect
processes.py  more processes of this program, on loopback
"""

from fkproxy.selftest import matrix, quick
from fkproxy.selftest.processes import NotReady

__all__ = ["NotReady", "matrix", "quick"]
