"""What runbooks of earlier systems ask for, in the words and shapes that they know: `/admin/…` and `/v0/management/…`. Floor 4."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from litestar import Request, Response, Router, delete, get, patch, post, put
from litestar.exceptions import HTTPException, NotAuthorizedException, NotFoundException, ValidationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.params import FromQuery, JSONBody
from litestar.types import ExceptionHandlersMap, Guard

from fkproxy.control.compat import NoCredential, provider_states, states_of
from fkproxy.control.compat_verbs import SCALARS, CompatControl, Malformed
from fkproxy.control.config import ConfigControl
from fkproxy.control.fallback_list import PRIMARY, PRIMARY_PROVIDER, WrongList
from fkproxy.control.ledger import Ledger
from fkproxy.control.providers import ProviderControl
from fkproxy.control.refusals import Forbidden, Invalid, Refused, Unknown
from fkproxy.control.settings import SettingControl
from fkproxy.control.upstreams import UpstreamControl
from fkproxy.settings import SettingsError
from fkproxy.storage.values import Conflict, StoreError, StoreUnavailable
from fkproxy.web.admin.caller import Asked, Asking
from fkproxy.web.application import FALLBACK_PREFIX, MANAGEMENT_PREFIX
from fkproxy.wire.numbers import whole_number

__all__ = ["fallback_routes", "management_routes"]


_COOLDOWN = "APP_COOLDOWN__MAX_SECS"
_OK = {"status": "ok"}


# --- errors: {"error": "…"}


def _told(status: int, message: str, headers: dict[str, str] | None = None, more: Mapping[str, str] = {}) -> Response[Any]:
    return Response({"error": message, **more}, status_code=status, headers=headers, media_type="application/json")


def _refused_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    if isinstance(error, NotAuthorizedException):
        given = any(name in request.headers for name in ("authorization", "x-management-key", "x-management-secret"))
        return _told(401, "invalid management key" if given else "missing management key", error.headers)
    return _told(error.status_code, error.detail, error.headers)


def _misread(_: Asked, __: Exception) -> Response[Any]:
    return _told(400, "invalid body")


def _refused(_: Asked, error: Refused) -> Response[Any]:
    if isinstance(error, NoCredential):
        return _told(400, str(error), more={"auth_index": error.index} if error.index is not None else {})
    return _told(404 if isinstance(error, Unknown) else 400, str(error))


def _wrong(_: Asked, error: Exception) -> Response[Any]:
    return _told(422, str(error))


def _away(_: Asked, error: StoreError) -> Response[Any]:
    return _told(409, str(error)) if isinstance(error, Conflict) else _told(503, str(error), {"retry-after": "5"})


_HANDLERS: ExceptionHandlersMap = {
    HTTPException: _refused_http,
    **dict.fromkeys((Refused, Invalid, Unknown, Forbidden, WrongList, Malformed, NoCredential), _refused),
    SettingsError: _wrong,
    **dict.fromkeys((ValidationException, RecursionError, UnicodeDecodeError), _misread),
    RequestEntityTooLarge: _refused_http,
    **dict.fromkeys((StoreError, StoreUnavailable, Conflict), _away),
}
"""Each one that the application has a handler for as well: the nearest class wins there, whoever names it."""


# --- /admin


def fallback_routes(
    *,
    config: ConfigControl,
    providers: ProviderControl,
    settings: SettingControl,
    upstreams: UpstreamControl,
    ledger: Ledger,
    by: Asking,
    guard: Guard,
    around: dict[str, Any],
) -> Router:
    """Providers as one list, their states, and the longest cooldown."""

    @get("/config")
    async def get_config(request: Asked, secrets: FromQuery[bool] = False) -> list[dict[str, Any]]:
        """Managed providers. Keys are masked unless they are asked for; a masked one keeps what is stored when it comes back."""
        return await config.as_fallback_list(with_secrets=secrets, by=by(request))

    @post("/config", status_code=200)
    async def post_config(data: JSONBody[Any], request: Asked) -> dict[str, Any]:
        """Put these in place of all managed providers, whole or not at all; `[]` clears them."""
        replaced = await config.replace_from_fallback_list(data, by=by(request))
        return {"success": True, "count": replaced.count, **({"ignored": list(replaced.ignored)} if replaced.ignored else {})}

    @get("/provider-states")
    async def get_states() -> dict[str, dict[str, Any]]:
        """Provider → failures in a row, the last failure, the last success and the end of its cooldown; times in milliseconds."""
        return provider_states(upstreams.all(), await providers.all(), (PRIMARY, PRIMARY_PROVIDER), time.time())

    @post("/provider-states/{name:path}", status_code=200)
    async def reset_state(request: Asked) -> dict[str, bool]:
        """`…/NAME/reset`: end the cooldowns of a provider and close its breakers."""
        name = _to_be_reset(request.scope["raw_path"])
        named = {str(each.entry.get("label") or each.name): each.name for each in await providers.all()}
        key = PRIMARY_PROVIDER if name == PRIMARY else named.get(name, name)
        views = states_of(upstreams.all(), key)
        if not views and name != PRIMARY:
            async with ledger.refusals(by(request), "upstream.reset", "upstream"):
                raise Unknown("provider", name, named)
        for view in views:
            upstreams.reset(view.key)
            await ledger.note(by(request), "upstream.reset", "upstream", view.key)
        return {"success": True}

    @get("/settings")
    async def get_settings() -> dict[str, float]:
        """The longest cooldown, in seconds."""
        seconds = float((await settings.get(_COOLDOWN)).value)
        return {"cooldownDuration": int(seconds) if seconds.is_integer() else seconds}

    @post("/settings", status_code=200)
    async def post_settings(data: JSONBody[dict[str, Any]], request: Asked) -> dict[str, bool]:
        """Another longest cooldown, in force at once."""
        seconds = data.get("cooldownDuration")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
            raise Malformed("Invalid cooldown duration")
        await settings.change({_COOLDOWN: seconds}, by=by(request))
        return {"success": True}

    handlers = [get_config, post_config, get_states, reset_state, get_settings, post_settings]
    return Router(
        FALLBACK_PREFIX,
        route_handlers=handlers,
        guards=[guard],
        **around,
        exception_handlers=_HANDLERS,
        include_in_schema=False,
    )


_RESET = re.compile(rf"{FALLBACK_PREFIX}/provider-states/(.+)/reset/?")


def _to_be_reset(raw_path: bytes) -> str:
    """A provider's name there is any text. Decoded here: the router takes a slash in it for one of the path. Raises `NotFoundException`."""
    found = _RESET.fullmatch(raw_path.decode(errors="replace").partition("?")[0])
    if found is None:
        raise NotFoundException
    return unquote(found[1])


# --- /v0/management


def management_routes(compat: CompatControl, *, by: Asking, guard: Guard, around: dict[str, Any]) -> Router:
    """The verbs of `control.compat_verbs`."""

    @get("/config")
    async def get_config() -> dict[str, Any]:
        """What is in force: scalars, prefixes of client keys, providers."""
        return await compat.config()

    @get("/auth-files")
    async def get_auth_files(request: Asked) -> Any:
        """One for each upstream; `?format=array` for the list alone."""
        query = request.query_params
        files = await compat.auth_files(_index(request) or query.get("name"))
        return files if query.get("format") == "array" else {"files": files}

    @patch("/auth-files/status")
    async def patch_status(data: JSONBody[Any], request: Asked) -> dict[str, Any]:
        """Pause or resume one."""
        return {**_OK, "disabled": await compat.set_disabled(data, by=by(request))}

    @post("/reset-quota", status_code=200)
    async def reset_quota(data: JSONBody[Any], request: Asked) -> dict[str, Any]:
        """End the cooldowns of one."""
        return await compat.reset_quota(data, by=by(request))

    @get("/kiro-quota")
    async def get_quota(request: Asked) -> dict[str, Any]:
        """What is left of one credential's quota."""
        return await compat.quota(_index(request))

    @get("/usage")
    async def get_usage() -> dict[str, Any]:
        """Sums since the log of calls begins."""
        return await compat.usage()

    @get("/api-keys")
    async def get_keys() -> dict[str, list[str]]:
        """Prefixes of the client keys; the keys themselves are never shown."""
        return {"api-keys": await compat.api_keys()}

    @put("/api-keys")
    async def put_keys(data: JSONBody[Any], request: Asked) -> dict[str, str]:
        """These and no others."""
        await compat.put_api_keys(data, by=by(request))
        return _OK

    @patch("/api-keys")
    async def patch_keys(data: JSONBody[Any], request: Asked) -> dict[str, str]:
        """One in place of another."""
        await compat.patch_api_keys(data, by=by(request))
        return _OK

    @delete("/api-keys", status_code=200)
    async def delete_key(request: Asked) -> dict[str, str]:
        """Revoke one, by `index` or `value`."""
        given = request.query_params.get("index")
        index = whole_number(given) if given is not None else None
        if index is None and given is not None:
            raise Malformed("missing index or value")
        await compat.delete_api_key(index=index, value=request.query_params.get("value"), by=by(request))
        return _OK

    handlers = [get_config, get_auth_files, patch_status, reset_quota, get_quota, get_usage, get_keys, put_keys, patch_keys, delete_key]
    return Router(
        MANAGEMENT_PREFIX,
        route_handlers=[*handlers, *(handler for path in SCALARS for handler in _scalar(compat, path, by))],
        guards=[guard],
        **around,
        exception_handlers=_HANDLERS,
        include_in_schema=False,
    )


def _scalar(compat: CompatControl, path: str, by: Asking) -> Sequence[Any]:
    @get(f"/{path}")
    async def read() -> dict[str, Any]:
        return {path.rpartition("/")[2]: await compat.scalar(path)}

    async def write(data: JSONBody[Any], request: Asked) -> dict[str, str]:
        await compat.set_scalar(path, data, by=by(request))
        return _OK

    return read, put(f"/{path}")(write), patch(f"/{path}")(write)


def _index(request: Asked) -> str | None:
    """Under any of the names in use."""
    for name in ("auth_index", "authIndex", "AuthIndex", "index", "auth_id", "auth-id"):
        if name in request.query_params:
            return str(request.query_params[name])
    return None
