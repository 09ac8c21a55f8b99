"""`python -m fkproxy` and the entry point of the built file."""

import sys

from fkproxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
