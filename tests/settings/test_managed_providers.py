"""Entries of a document as a source of providers."""

from __future__ import annotations

from fkproxy.settings.managed_providers import ManagedSource
from tests.fakes.box import box


def test_nothing_on_this_machine_is_read_for_an_entry() -> None:
    source = ManagedSource({"SOME_KEY": "canary"})
    entries = [{"name": "one", "adapter": "openai", "credentials": [{"env": "SOME_KEY"}, {"file": "/nowhere/at/all"}]}]
    source.open(entries, box(), lambda _: None, strict=True)
    assert [problem.name for problem in source.problems] == ["providers[0].credentials[0].env", "providers[0].credentials[1].file"]
    assert [(provider.disabled, provider.credentials) for provider in source.file.providers] == [(True, ())]


def test_names_may_be_written_with_hyphens_and_credentials_get_numbers() -> None:
    source = ManagedSource({})
    entries = [
        {
            "name": "one",
            "adapter": "openai",
            "base-url": "https://a.example",
            "credentials": [{"key": "k", "client-secret": "s"}, {"key": "l"}],
        }
    ]
    source.open(entries, box(), lambda _: None, strict=True)
    assert source.problems == []
    (provider,) = source.file.providers
    assert [entry.name for entry in provider.credentials] == ["1", "2"]
    secret = provider.credentials[0].client_secret
    assert secret is not None
    assert secret.get_secret_value() == "s"
