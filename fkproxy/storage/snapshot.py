"""The last picture, in a file of the state directory: what a worker starts from, and lives on while the store is away. Floor 2.

Loads no database library. Its first line is the SHA-256 of the rest, so half a file or a turned bit is seen; secrets in it are sealed.
Both functions block.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path

import msgspec

from fkproxy.storage import files, words
from fkproxy.storage.values import Picture

__all__ = ["read", "write"]

_log = logging.getLogger(__name__)


def read(path: Path) -> Picture | None:
    """None when there is none, or when it cannot be read or trusted: then the log says why, and the store has to be waited for."""
    try:
        digest, _, body = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("the snapshot %s cannot be read: %s", path.name, type(error).__name__)
        return None
    if not hmac.compare_digest(digest, hashlib.sha256(body).hexdigest().encode()):
        _log.warning("the snapshot %s is damaged and is not used", path.name)
        return None
    try:
        return words.picture_of(body)
    except msgspec.DecodeError:
        _log.warning("the snapshot %s was written by another version and is not used", path.name)
        return None


def write(path: Path, picture: Picture) -> None:
    """Replace it at once and whole, mode 0600, on the disk when this returns. Raises OSError, and then the old one stands."""
    body = msgspec.json.encode(picture)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.remove_strays(path)
    files.write_beside(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body).replace(path)
