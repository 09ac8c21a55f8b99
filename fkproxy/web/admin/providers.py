"""`/admin/api/providers`. Floor 4."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Router, delete, get, patch, post, put
from litestar.params import FromPath, JSONBody

from fkproxy.control.providers import ProviderControl
from fkproxy.control.seams import NamedProvider, Verdict
from fkproxy.web.admin.caller import Asked, Asking, based_on

__all__ = ["provider_routes"]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All managed providers by name, the preferred one first."""

    names: list[str]


def provider_routes(providers: ProviderControl, by: Asking) -> Router:
    """The verbs of `control.providers`. Entries have the fields of a providers file; secrets go in and never come out."""

    @get("/")
    async def list_providers() -> list[NamedProvider]:
        """All that are in force, in order of preference, and who named them."""
        return await providers.all()

    @get("/{provider:str}")
    async def get_provider(provider: FromPath[str]) -> NamedProvider:
        """One provider."""
        return await providers.get(provider)

    @put("/{provider:str}")
    async def put_provider(provider: FromPath[str], data: JSONBody[dict[str, Any]], request: Asked) -> NamedProvider:
        """Add it, or put it in place of the one that is kept under this name. Masked secrets keep what is stored."""
        return await providers.put(provider, data, by=by(request), based_on=based_on(request))

    @patch("/{provider:str}")
    async def patch_provider(provider: FromPath[str], data: JSONBody[dict[str, Any]], request: Asked) -> NamedProvider:
        """Change the fields that are given; null clears one."""
        return await providers.patch(provider, data, by=by(request), based_on=based_on(request))

    @delete("/{provider:str}", status_code=204)
    async def delete_provider(provider: FromPath[str], request: Asked) -> None:
        """Remove a managed one. Calls under way go on."""
        await providers.delete(provider, by=by(request), based_on=based_on(request))

    @post("/order", status_code=200)
    async def reorder_providers(data: JSONBody[Order], request: Asked) -> list[NamedProvider]:
        """Another order of preference among managed providers."""
        return await providers.reorder(data.names, by=by(request), based_on=based_on(request))

    @post("/validate", status_code=200)
    async def validate_providers(data: JSONBody[list[dict[str, Any]]]) -> Verdict:
        """What is wrong with a whole list of managed providers; nothing is changed."""
        return await providers.validate(data)

    handlers = [list_providers, get_provider, put_provider, patch_provider, delete_provider, reorder_providers, validate_providers]
    return Router("/providers", route_handlers=handlers, tags=["providers"])
