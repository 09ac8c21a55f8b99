"""`python -m fkproxy` and the entry point of the built file."""

from __future__ import annotations

import sys

from fkproxy import main_process

__all__ = ["main"]


def main() -> int:
    """Run what the command line says, and return the exit code."""
    main_process.have_standard_streams()
    arguments = sys.argv[1:]
    if not arguments or arguments[0] == "serve":
        # The main process of a service needs next to nothing; its worker reads the command line.
        return main_process.run(_serve)
    from fkproxy import cli

    return cli.main(arguments)


def _serve(main: main_process.Main) -> int:
    from fkproxy import cli

    return cli.main(sys.argv[1:], main)


if __name__ == "__main__":
    sys.exit(main())
