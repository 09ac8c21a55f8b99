"""Base64 and data URLs in the requests of several dialects. Floor 1. Pure."""

from __future__ import annotations

import binascii
import mimetypes
import re

from fkproxy.model.errors import InvalidRequest, Unrepresentable
from fkproxy.model.parts import Extra, Media, MediaKind

__all__ = ["MADE", "address_of", "at_address", "base64_text", "data_url", "file_name", "kind_of", "registered_type", "web_address_of"]

MADE = "Media in the answer:"
"""What the user says of media that the model made, where a vendor takes none from the model itself."""

_WEB = ("https://", "http://")
_ADDRESSES = (*_WEB, "gs://")
_KINDS: tuple[tuple[str, MediaKind], ...] = (("image/", "image"), ("audio/", "audio"), ("video/", "video"))
_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)


def kind_of(mime_type: str) -> MediaKind:
    """Of a medium, by its media type; "" for one that is not said."""
    return next((kind for prefix, kind in _KINDS if mime_type.startswith(prefix)), "file")


def address_of(media: Media) -> str:
    """The medium's own, or one that holds it (RFC 2397)."""
    return media.url if media.url is not None else f"data:{media.mime_type or 'application/octet-stream'};base64,{media.data}"


def web_address_of(media: Media, target: str) -> str:
    """The same for the dialect `target`, whose vendors read the web and nothing else. Raises `Unrepresentable`."""
    if media.url is not None and not media.url.lower().startswith(_WEB):
        raise Unrepresentable("a file by an address that is not on the web", target)
    return address_of(media)


def at_address(kind: MediaKind, url: str, path: str, *, detail: str | None, extra: Extra) -> Media:
    """What is at an address, which may hold it itself. Raises `InvalidRequest`."""
    if url[:5].lower() == "data:":
        mime_type, data = data_url(url, path)
        return Media(kind=kind, mime_type=mime_type, data=data, detail=detail, extra=extra)
    if not url.lower().startswith(_ADDRESSES):
        raise InvalidRequest(path, "expected a data: URL or an https:// URL")
    return Media(kind=kind, url=url, detail=detail, extra=extra)


def data_url(url: str, path: str) -> tuple[str | None, str]:
    """(media type, base64 text) of a data URL (RFC 2397). Raises `InvalidRequest`."""
    match = _DATA_URL.match(url)
    if match is None or ";base64" not in match[2].lower():
        raise InvalidRequest(path, "expected data:<media type>;base64,<data>")
    return match[1].lower() or None, base64_text(url[match.end() :], path)


def base64_text(data: str, path: str, *, url_safe: bool = True) -> str:
    """The text, checked and in the standard alphabet with its padding. Raises `InvalidRequest`, which does not quote it.

    `url_safe`: it may be in that alphabet. The JSON of a protocol buffer takes either, and Google's own Python client sends that one
    (google-genai 3.4, `_common.py`).
    """
    plain = data if data.isalnum() else "".join(data.split()).rstrip("=")
    if url_safe:
        plain = plain.replace("-", "+").replace("_", "/")
    padded = plain + "=" * (-len(plain) % 4)
    try:
        binascii.a2b_base64(padded, strict_mode=True)
    except ValueError as error:
        raise InvalidRequest(path, "expected base64 data") from error
    return padded


def file_name(media: Media) -> str:
    """Its own, or one by which a vendor that goes by names takes it for what it is."""
    return media.name or f"file{mimetypes.guess_extension(media.mime_type or '') or ''}"


def registered_type(mime_type: str | None) -> str | None:
    """The media type by its registered name. Many write image/jpg, and OpenAI takes it: "Unsupported MIME type: image/jpg", say others."""
    return "image/jpeg" if mime_type == "image/jpg" else mime_type
