"""What pools and keys look like where they are kept."""

from __future__ import annotations

import msgspec

from fkproxy.directory import ClientKey, Document, KeyLimits, KeySecret, Pool


def test_a_document_comes_back_from_json_as_it_was() -> None:
    document = Document(
        providers=({"name": "a", "adapter": "openai", "credentials": [{"key": {"sealed": "x"}}]},),
        pools=(Pool(name="team", upstreams=("a", "b/one"), strategy="sticky", fallbacks={"m": ("n",)}),),
        settings={"APP_RATE_LIMIT__CAPACITY": "5"},
    )
    assert msgspec.json.decode(msgspec.json.encode(document), type=Document) == document


def test_what_a_newer_program_added_does_not_keep_an_older_one_from_reading() -> None:
    assert msgspec.json.decode(b'{"name":"team","colour":"red"}', type=Pool) == Pool(name="team")


def test_a_limit_of_nothing_is_not_no_limit() -> None:
    key = ClientKey(id="k", pool="team", limits=KeyLimits(tokens_per_day=0))
    again = msgspec.json.decode(msgspec.json.encode(key), type=ClientKey)
    assert (again.limits.tokens_per_day, again.limits.tokens_per_week) == (0, None)


def test_the_prefix_is_that_of_the_newest_secret() -> None:
    secrets = (KeySecret(prefix="sk-fk-old", digest=b"1"), KeySecret(prefix="sk-fk-new", digest=b"2"))
    assert ClientKey(id="k", pool="team", secrets=secrets).prefix == "sk-fk-new"
