"""`/admin/api/keys`. Floor 4."""

from __future__ import annotations

import msgspec
from litestar import Response, Router, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from fkproxy.control.key_views import KeyPatch, KeyView, MadeKey, NewKey
from fkproxy.control.keys import DAY_S, KeyControl
from fkproxy.web.admin.caller import Asked, Asking

__all__ = ["key_routes"]


class Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to."""

    pool: str


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the secrets before it stay valid, in seconds."""

    overlap_s: float = DAY_S


def key_routes(keys: KeyControl, by: Asking) -> Router:
    """The verbs of `control.keys`."""

    @get("/")
    async def list_keys(pool: FromQuery[str | None] = None) -> list[KeyView]:
        """All keys, or those of one pool. Their secrets are never shown."""
        return await keys.all(pool=pool)

    @post("/")
    async def create_key(data: JSONBody[NewKey], request: Asked) -> Response[MadeKey]:
        """Make a key. Its secret is in this answer and nowhere else."""
        return Response(await keys.create(data, by=by(request)), status_code=201)

    @get("/{key:str}")
    async def get_key(key: FromPath[str]) -> KeyView:
        """One key, by its id or its prefix."""
        return await keys.get(key)

    @patch("/{key:str}")
    async def update_key(key: FromPath[str], data: JSONBody[KeyPatch], request: Asked) -> KeyView:
        """Change the fields that are given."""
        return await keys.update(key, data, by=by(request))

    @delete("/{key:str}", status_code=204)
    async def delete_key(key: FromPath[str], request: Asked, confirm: FromQuery[str | None] = None) -> None:
        """Remove a key that is revoked; any other one needs its prefix as `confirm`. What it used stays booked."""
        await keys.delete(key, confirm=confirm, by=by(request))

    @post("/{key:str}/pause", status_code=200)
    async def pause_key(key: FromPath[str], request: Asked) -> KeyView:
        """Refuse its calls until it is resumed; streams under way are ended."""
        return await keys.pause(key, by=by(request))

    @post("/{key:str}/resume", status_code=200)
    async def resume_key(key: FromPath[str], request: Asked) -> KeyView:
        """End a pause."""
        return await keys.resume(key, by=by(request))

    @post("/{key:str}/revoke", status_code=200)
    async def revoke_key(key: FromPath[str], request: Asked) -> KeyView:
        """End it for ever, and the streams it has under way."""
        return await keys.revoke(key, by=by(request))

    @post("/{key:str}/rotate", status_code=200)
    async def rotate_key(key: FromPath[str], request: Asked, data: JSONBody[Rotation | None] = None) -> MadeKey:
        """A new secret, shown in this answer only. Those before it stay valid for a while."""
        return await keys.rotate(key, overlap_s=(data or Rotation()).overlap_s, by=by(request))

    @post("/{key:str}/move", status_code=200)
    async def move_key(key: FromPath[str], data: JSONBody[Move], request: Asked) -> KeyView:
        """Put it into another pool."""
        return await keys.move(key, data.pool, by=by(request))

    handlers = [list_keys, create_key, get_key, update_key, delete_key, pause_key, resume_key, revoke_key, rotate_key, move_key]
    return Router("/keys", route_handlers=handlers, tags=["keys"])
