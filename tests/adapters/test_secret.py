"""A secret that stays as it is."""

from __future__ import annotations

from fkproxy.adapters.base import Credential, CredentialStatus
from fkproxy.adapters.secret import StaticSecret, secrets_of, withhold, without
from fkproxy.model.errors import UpstreamRejected


async def test_a_secret_is_given_as_it_is_and_cannot_be_renewed() -> None:
    secret: Credential = StaticSecret("main", "canary-key")
    assert (secret.name, secret.renewable) == ("main", False)
    assert await secret.token(0.0) == "canary-key"
    assert await secret.renew("canary-key", 0.0) is False
    assert await secret.renew("another", 0.0) is False
    assert secret.describe(0.0) == CredentialStatus(state="active")
    assert "canary" not in repr(secret)


async def test_an_upstream_may_want_no_secret_at_all() -> None:
    assert await StaticSecret("", "").token(0.0) == ""


def test_what_an_upstream_repeats_of_the_secret_is_taken_out() -> None:
    said = UpstreamRejected(400, "the key canary-key is old: canary-key", param="canary-key", native_code="old-canary-key")
    said.details = '{"error_code":"canary-key"}'
    withhold(said, secrets_of(StaticSecret("main", "canary-key")))
    assert (str(said), said.param, said.native_code) == ("the key … is old: …", "…", "old-…")
    assert said.details == '{"error_code":"…"}'
    said = UpstreamRejected(400, "canary-key, canary-key-of-a-header, canary-header")
    withhold(said, secrets_of(*(StaticSecret("", each) for each in ("canary-key", "canary-header", "canary-key-of-a-header", "a"))))
    assert str(said) == "…, …, …"
    said = UpstreamRejected(400, "a short one is in every text")
    withhold(said, secrets_of(StaticSecret("", "a")))
    withhold(said, secrets_of(StaticSecret("", "")))
    assert (str(said), said.param, said.native_code) == ("a short one is in every text", None, None)
    found = [without(b"a canary-key", secrets_of(StaticSecret("", each))).decode() for each in ("canary-key", "canary-keys", "a", "")]
    assert found == ["a …", *["a canary-key"] * 3]
    assert without(b"a canary-key", secrets_of(StaticSecret("", "canary-k"), StaticSecret("", "canary-key"))).decode() == "a …"
    assert without(rb"a canary\/key, canary/key", secrets_of(StaticSecret("", "canary/key"))).decode() == "a …, …"
