"""Secrets at rest: AES-256-GCM with keys that have versions. Floor 2. The only place that knows the cipher.

A secret stands in a document as `{"sealed": {"id", "version", "data", "fingerprint"}}`: `data` is base64 of a nonce of 12 bytes and the
ciphertext with its tag (NIST SP 800-38D), bound to the algorithm, the version and the id. The key comes from the configuration, or from a
file of the same format beside the database: `version:base64(32 bytes)`, several separated by commas; the highest version seals, all open.

**Fingerprints** let people see that two secrets are the same one without seeing it. They are keyed (HMAC-SHA256, with a key derived from
the installation's pepper), so whoever reads one, in the database, a log or an answer, cannot try out passwords on it; and because the
pepper stays when the sealing key is rotated, so do they. Two installations give the same secret different ones.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fkproxy.storage.files import write_beside
from fkproxy.storage.values import SecretLost

__all__ = ["KeyFile", "SecretBox", "add_key", "derived", "is_sealed", "load_keys", "open_box", "parse_keys"]

KEY_BYTES = 32
PEPPER_BYTES = 32
_NONCE_BYTES = 12
_ALGORITHM = "AES-256-GCM"
_PARTS = {"id": str, "version": int, "data": str, "fingerprint": str}
_ENTRY = re.compile(r"([1-9]\d{0,8}):(\S+)")

_Value = TypeVar("_Value")


class KeyFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file that holds the keys, and whether it has just been made: whoever made it should say so, because it must be kept."""

    path: Path
    made: bool


def parse_keys(text: str) -> dict[int, bytes]:
    """Version → key. Raises ValueError, which says which entry is wrong and repeats none."""
    keys: dict[int, bytes] = {}
    for number, entry in enumerate(text.replace("\n", ",").split(","), 1):
        if not entry.strip():
            continue
        found = _ENTRY.fullmatch(entry.strip())
        if found is None:
            raise ValueError(f"entry {number} of the keys for secrets is not version:base64, with a version from 1")
        version = int(found[1])
        if version in keys:
            raise ValueError(f"version {version} of the keys for secrets is there twice")
        keys[version] = _key(found[2], version)
    if not keys:
        raise ValueError("there is no key for secrets: expected version:base64 of 32 bytes")
    return keys


def _key(text: str, version: int) -> bytes:
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"version {version} of the keys for secrets is not base64") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"version {version} of the keys for secrets has {len(key)} bytes, it must have {KEY_BYTES}")
    return key


def load_keys(configured: str | None, file: Path, *, may_make: bool) -> tuple[dict[int, bytes], KeyFile | None]:
    """The keys, and the file they are in if none are configured. Raises ValueError, or SecretLost when the file has gone.

    `may_make`: nothing has been sealed yet, so a new key loses nothing. Several processes may do so at once; one file comes of it.
    """
    if configured:
        return parse_keys(configured), None
    made = False
    if may_make and not file.exists():
        made = _make(file)
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        message = f"the key that opens the store's secrets is not there: {file.name} cannot be read ({type(error).__name__})"
        raise SecretLost(0, message) from error
    return parse_keys(text), KeyFile(path=file, made=made)


def _make(file: Path) -> bool:
    """Never over one that is there: written beside, then linked."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = write_beside(file, f"{_entry(1)}\n".encode())
    try:
        file.hardlink_to(part)
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    return True


def add_key(file: Path) -> dict[int, bytes]:
    """Put a new key, of the next version, in the file, and give all that are in it. Raises OSError, ValueError."""
    keys = parse_keys(file.read_text())
    entries = [f"{version}:{base64.b64encode(key).decode()}" for version, key in sorted(keys.items(), reverse=True)]
    text = ",".join([_entry(max(keys) + 1), *entries]) + "\n"
    write_beside(file, text.encode()).replace(file)
    return parse_keys(text)


def _entry(version: int) -> str:
    return f"{version}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def derived(pepper: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose: HKDF-Expand, one block (RFC 5869 §2.3; §3.3 lets a uniformly random key skip the other half)."""
    return hmac.digest(pepper, f"fkproxy {purpose}".encode() + b"\x01", "sha256")


def open_box(configured: str | None, file: Path, sealed_pepper: Mapping[str, Any]) -> tuple[SecretBox, bytes]:
    """The box of an installation, and its pepper: all that a snapshot needs to be used. Raises SecretLost, ValueError."""

    def again() -> dict[int, bytes]:
        return load_keys(configured, file, may_make=False)[0]

    return SecretBox(again(), again=again).peppered(sealed_pepper)


class SecretBox:
    """Seals with the highest of `keys`, opens with any.

    `pepper`: see `fresh_pepper`; without it there are no fingerprints, so nothing can be sealed. `again` gives the keys once more, to seal
    and where a version is not among them: another process may have added one since.
    """

    def __init__(self, keys: Mapping[int, bytes], pepper: bytes = b"", again: Callable[[], Mapping[int, bytes]] | None = None) -> None:
        self._ciphers: dict[int, AESGCM] = {}
        self._again = again
        self._marking = derived(pepper, "fingerprint") if pepper else b""
        self.learn(keys)

    def learn(self, keys: Mapping[int, bytes]) -> None:
        """Take these as well."""
        self._ciphers.update({version: AESGCM(key) for version, key in keys.items()})

    def _look_again(self) -> None:
        if self._again is None:
            return
        try:
            self.learn(self._again())
        except ValueError as error:
            raise SecretLost(0, str(error)) from error

    @property
    def versions(self) -> tuple[int, ...]:
        """The newest, which seals, is the last."""
        return tuple(sorted(self._ciphers))

    def peppered(self, sealed_pepper: Mapping[str, Any]) -> tuple[SecretBox, bytes]:
        """A box with fingerprints, and the pepper. Raises SecretLost."""
        pepper = base64.b64decode(self.open(sealed_pepper))
        box = SecretBox({}, pepper, self._again)
        box._ciphers = self._ciphers
        return box, pepper

    def fresh_pepper(self) -> dict[str, Any]:
        """A new pepper, sealed: the key under the keyed hashes of an installation, which stays for its life."""
        return self._sealed(base64.b64encode(secrets.token_bytes(PEPPER_BYTES)).decode(), "")

    def seal(self, value: str) -> dict[str, Any]:
        """What stands for `value` in a document. Sealing it again gives other bytes with the same fingerprint. Raises SecretLost."""
        self._look_again()
        return self._sealed(value, self.fingerprint(value))

    def open(self, sealed: Mapping[str, Any]) -> str:
        """The value. Raises SecretLost, which names the version of the key or what is wrong with the keys, and nothing else."""
        parts = sealed["sealed"]
        version = int(parts["version"])
        if version not in self._ciphers:
            self._look_again()
        cipher = self._ciphers.get(version)
        if cipher is None:
            known = ", ".join(map(str, self.versions))
            raise SecretLost(version, f"a secret is sealed with version {version} of the key, which is not among those given ({known})")
        try:
            data = base64.b64decode(parts["data"], validate=True)
            return cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound(version, str(parts["id"]))).decode()
        except (InvalidTag, ValueError):
            message = f"a secret is sealed with version {version} of the key, but not with the one given, or it was altered"
            raise SecretLost(version, message) from None

    def fingerprint(self, value: str) -> str:
        """`sha256:` and 12 characters (72 bits)."""
        if not self._marking:
            raise ValueError("a fingerprint needs the pepper")
        digest = hmac.digest(self._marking, value.encode(), hashlib.sha256)
        return "sha256:" + base64.urlsafe_b64encode(digest)[:12].decode()

    def reseal(self, value: _Value) -> _Value:
        """`value`, JSON or a document, with everything in it sealed by the newest key. What is already stays. Raises SecretLost."""
        self._look_again()
        changed: _Value = _replaced(value, self._resealed)
        return changed

    def _resealed(self, sealed: Mapping[str, Any]) -> Mapping[str, Any]:
        if int(sealed["sealed"]["version"]) == self.versions[-1]:
            return sealed
        return self._sealed(self.open(sealed), sealed["sealed"]["fingerprint"])

    def _sealed(self, value: str, fingerprint: str) -> dict[str, Any]:
        version, name, nonce = self.versions[-1], secrets.token_hex(8), secrets.token_bytes(_NONCE_BYTES)
        data = nonce + self._ciphers[version].encrypt(nonce, value.encode(), _bound(version, name))
        return {"sealed": {"id": name, "version": version, "data": base64.b64encode(data).decode(), "fingerprint": fingerprint}}


def _bound(version: int, name: str) -> bytes:
    return f"fkproxy {_ALGORITHM} {version} {name}".encode()


def is_sealed(value: object) -> bool:
    """Whether this is what stands for a secret."""
    parts = value.get("sealed") if isinstance(value, dict) and len(value) == 1 else None
    return isinstance(parts, dict) and parts.keys() == _PARTS.keys() and all(isinstance(parts[name], kind) for name, kind in _PARTS.items())


def _replaced(value: Any, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    if is_sealed(value):
        return change(value)
    if isinstance(value, dict):
        return {name: _replaced(item, change) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(item, change) for item in value)
    if isinstance(value, msgspec.Struct):
        fields = {field: _replaced(getattr(value, field), change) for field in value.__struct_fields__}
        return msgspec.structs.replace(value, **fields)
    return value
