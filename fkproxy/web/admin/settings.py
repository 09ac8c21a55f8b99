"""`/admin/api/settings`. Floor 4."""

from __future__ import annotations

from litestar import Router, get, patch
from litestar.params import FromPath, FromQuery, JSONBody

from fkproxy.control.seams import SettingView
from fkproxy.control.settings import SettingControl
from fkproxy.web.admin.caller import Asked, Asking, based_on

__all__ = ["setting_routes"]

Value = str | int | float | bool | None


def setting_routes(settings: SettingControl, by: Asking) -> Router:
    """The verbs of `control.settings`."""

    @get("/")
    async def list_settings(section: FromQuery[str | None] = None) -> list[SettingView]:
        """All settings, or those of one section: what is in force, and where that comes from."""
        return await settings.all(section=section)

    @get("/{name:str}")
    async def get_setting(name: FromPath[str]) -> SettingView:
        """One setting, by `APP_<SECTION>__<NAME>`."""
        return await settings.get(name)

    @patch("/")
    async def change_settings(data: JSONBody[dict[str, Value]], request: Asked) -> list[SettingView]:
        """Keep these values, all or none; null goes back to what the environment or the default says. New calls see them at once."""
        return await settings.change(data, by=by(request), based_on=based_on(request))

    return Router("/settings", route_handlers=[list_settings, get_setting, change_settings], tags=["settings"])
