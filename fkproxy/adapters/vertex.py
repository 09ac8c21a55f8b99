"""Vertex AI, whoever's models are asked there: its addresses, and the path with the project and the location in it. Floor 2."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from fkproxy.adapters.access import Access
from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.listing import OverHttp

if TYPE_CHECKING:
    from fkproxy.adapters.google_auth import GoogleTokens

__all__ = ["OverVertex", "vertex_base_url"]

_MULTI_REGIONS = ("us", "eu")


def vertex_base_url(region: str) -> str:
    """The endpoint of a location. The global one has no prefix, and those of multi-regions are of another form.

    Source: platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai, read 2026-11.
    """
    if region in _MULTI_REGIONS:
        return f"https://aiplatform.{region}.rep.googleapis.com"
    return "https://aiplatform.googleapis.com" if region == "global" else f"https://{region}-aiplatform.googleapis.com"


class OverVertex(OverHttp):
    """A publisher's models in one project and one location."""

    publisher: str

    def __init__(
        self, client: HttpClient, access: Access, tokens: GoogleTokens, *, provider_key: str, region: str, models: tuple[str, ...]
    ) -> None:
        super().__init__(client, access, provider_key=provider_key, models=models)
        self._tokens = tokens
        self._region = quote(region, safe="")

    def _path(self) -> str:
        """Of its models. Raises `UpstreamRefusedCredential` when nobody names a project."""
        project = quote(self._tokens.project_id, safe=":")
        return f"/v1/projects/{project}/locations/{self._region}/publishers/{self.publisher}/models/"

    async def verify(self) -> None:
        """See `Adapter.verify`. A token is had, and the project known; whether it may call models shows with the first call."""
        await self._access.block()
        self._path()
