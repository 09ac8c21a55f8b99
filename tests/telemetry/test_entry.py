"""What is written of a call, and what is not."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.telemetry.entry import Entry, EntryEncoder, cleaned, decode_entry
from fkproxy.telemetry.record import Attempt, CallRecord, Skipped
from tests.telemetry.records import USAGE, record

NOT_WRITTEN = {"auth", "peer", "user_agent"}


def test_every_field_of_a_record_is_written_or_known_not_to_be() -> None:
    assert set(CallRecord.__struct_fields__) == set(Entry.__struct_fields__) | NOT_WRITTEN


def test_what_is_written_is_read_again() -> None:
    call = record(
        tries=(Attempt(provider_key="p1", outcome="timeout", status=None, duration_ms=1.5), Attempt(provider_key="p2", ttft_ms=3.0)),
        skipped=(Skipped(provider_key="p3", credential="b", reason="limited", cause="said", retry_after_s=2.0),),
        notes=("fallback:model-1", "waited"),
        losses=("messages[].name",),
        usage=USAGE,
        cost_usd=1e-9,
        operation="embeddings",
        pool="team",
        key_prefix="fk-abcd",
        client_ended=True,
    )
    line = EntryEncoder().encode(call)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    entry = decode_entry(line)
    assert {field: getattr(entry, field) for field in Entry.__struct_fields__} == {
        field: getattr(call, field) for field in Entry.__struct_fields__
    }


def test_no_address_and_no_user_agent_is_written() -> None:
    line = EntryEncoder().encode(record(peer="192.0.2.77", user_agent="agent-canary/1"))
    assert b"192.0.2.77" not in line
    assert b"agent-canary" not in line


def test_a_line_of_a_newer_program_is_read_by_an_older_one() -> None:
    line = msgspec.json.decode(EntryEncoder().encode(record()))
    assert decode_entry(msgspec.json.encode([*line, "a field to come", {"and": 1}])).request_id == "r1"


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b"[1]", b'["r1",1.0,"POST"', b"null", b"\x00\x00", b'"' + b"a" * 1000])
def test_what_is_no_entry_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_entry(line)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("gpt-none", "gpt-none"),
        ("vendor/model-3.5:free", "vendor/model-3.5:free"),
        ("sk-proj-aB3dE6gH9jK2mN5pQ8sT1vW4yZ7", "other"),
        ("What is the capital of France?", "other"),
        ("x" * 65, "other"),
        ("a\nb", "other"),
        ("", "other"),
        (None, None),
    ],
)
def test_a_model_that_nobody_has_is_kept_only_if_it_is_a_name(asked: str | None, kept: str | None) -> None:
    call = record(model_requested=asked, model_id=None, provider_key=None, error_code="model_not_found", status=404)
    assert cleaned(call).model_requested == kept
    assert decode_entry(EntryEncoder().encode(call)).model_requested == kept


def test_a_model_that_an_upstream_has_is_bounded_and_printable() -> None:
    call = cleaned(record(model_requested="projects/p/endpoints/" + "9" * 300, model_id="a b\x00c"))
    assert call.model_requested == ("projects/p/endpoints/" + "9" * 300)[:128]
    assert call.model_id == "a b?c"


def test_words_that_clients_choose_are_words() -> None:
    call = cleaned(record(method="SECRET", reasoning_requested="tell me\neverything", reasoning_applied="effort high"))
    assert (call.method, call.reasoning_requested, call.reasoning_applied) == ("other", "other", "effort high")


def test_names_in_notes_are_cleaned_as_the_model_is() -> None:
    notes = ("takeover:what is it you want?", "waited")
    assert cleaned(record(notes=notes, provider_key=None)).notes == ("takeover:other", "waited")


def test_the_second_call_with_the_same_words_is_written_as_the_first() -> None:
    encoder = EntryEncoder()
    odd = record(model_requested="what? " * 10, provider_key=None)
    assert encoder.encode(odd) == encoder.encode(odd)
    assert encoder.encode(record()) == encoder.encode(record())
    assert b"what?" not in encoder.encode(odd)


@given(text=st.text(max_size=200), found=st.booleans())
def test_any_text_for_a_model_makes_one_line_that_can_be_read(text: str, found: bool) -> None:
    line = EntryEncoder().encode(record(model_requested=text, model_id=text, provider_key="p1" if found else None))
    kept = decode_entry(line).model_requested
    assert line.count(b"\n") == 1
    assert kept is not None
    assert len(kept) <= 128
    assert kept.isprintable()
