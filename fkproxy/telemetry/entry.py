"""A call as it is written down: one JSON array on one line, the fields of `Entry` in their order.

Floor 2. Pure.

The fields are listed, so what a record gains later is not written until somebody adds it here. There is no prompt, no reply, no path,
no address and no user agent among them. What clients choose themselves is a model's name, a word for reasoning and the method; a
name that is no name is written as "other" (see `cleaned`). Arrays only ever grow at the end, each new field with a default: an older
program leaves out what it does not know, and a newer one reads what an older one wrote.
"""

from __future__ import annotations

import operator
import re
from typing import Annotated, TypeVar

import msgspec

from fkproxy.model.usage import Usage
from fkproxy.telemetry.record import OTHER, Attempt, CallRecord, Skipped, known_method

__all__ = ["Entry", "EntryEncoder", "cleaned", "decode_entry", "shown_to_all"]

_MAX_MODEL_CHARS = 128
_MAX_KNOWN = 1024
_UNSERVED_MODEL = re.compile(r"(?!.*[A-Za-z0-9]{20})[A-Za-z0-9._:/@+-]{1,64}")
"""What may stand for a model that nobody has. Twenty letters and digits in a row are in no vendor's name; they are in keys."""
_REASONING = re.compile(r"[A-Za-z0-9 _.:+-]{1,40}")


PlaceT = TypeVar("PlaceT", Attempt, Skipped)
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""What a database's integers, and the numbers of JSON readers, can hold."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line. The fields are those of `CallRecord`."""

    request_id: str
    started_s: Annotated[float, msgspec.Meta(ge=0, le=1e11)]
    method: str
    route: str
    status: Count
    duration_ms: float
    dialect: str | None
    stream: bool
    model_requested: str | None
    model_id: str | None
    provider_key: str | None
    credential: str
    upstream_dialect: str | None
    attempts: Count
    tries: tuple[Attempt, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    waited_ms: float
    upstream_status: Count | None
    upstream_ms: float
    ttft_ms: float | None
    usage: Usage | None
    cost_usd: float | None
    finish_reason: str | None
    error_code: str | None
    losses: tuple[str, ...]
    reasoning_requested: str | None
    reasoning_applied: str | None
    key_id: str | None
    client_ended: bool
    request_bytes: Count
    response_bytes: Count
    operation: str
    pool: str | None
    key_prefix: str | None


decode_entry = msgspec.json.Decoder(Entry).decode
"""Raises `msgspec.DecodeError`, a `ValueError`, for what is no entry."""

_fields_of = operator.attrgetter(*Entry.__struct_fields__)
_chosen_by_client = operator.attrgetter(
    "method", "model_requested", "model_id", "provider_key", "reasoning_requested", "reasoning_applied", "notes"
)


class EntryEncoder:
    """Records → lines. What clients choose is looked at once: the next call with the same words costs one look-up."""

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._clean: set[object] = set()

    def encode(self, record: CallRecord) -> bytes:
        """The line, its end included. Raises `ValueError` for text that is not Unicode in a field that no client chooses."""
        chosen, tries = _chosen_by_client(record), record.tries
        if len(tries) > 1 or record.skipped or (tries and tries[0].model_id != record.model_id):
            record = cleaned(record)
        elif chosen not in self._clean:
            plain = cleaned(record)
            if _chosen_by_client(plain) != chosen:
                record = plain
            else:
                if len(self._clean) >= _MAX_KNOWN:
                    self._clean.clear()
                self._clean.add(chosen)
        return self._encode(_fields_of(record)) + b"\n"


def cleaned(record: CallRecord) -> CallRecord:
    """The record with nothing in it that a client chose and that is no name.

    The name of a model that an upstream was found for is bounded; one that nobody has must look like a name besides: what is typed
    into the wrong field, a key or a question, is not kept.
    """
    served = record.provider_key is not None
    return msgspec.structs.replace(
        record,
        method=known_method(record.method),
        model_requested=_model(record.model_requested, served),
        model_id=_model(record.model_id, served),
        reasoning_requested=_reasoning(record.reasoning_requested),
        reasoning_applied=_reasoning(record.reasoning_applied),
        notes=tuple(_note(note, served) for note in record.notes),
        tries=tuple([_place(each, served) for each in record.tries]),
        skipped=tuple([_place(each, served) for each in record.skipped]),
    )


def shown_to_all(model: str) -> str:
    """A model's name where anybody may look: one that could be a key or a question is "other"."""
    return model if _UNSERVED_MODEL.fullmatch(model) else OTHER


def _model(name: str | None, served: bool) -> str | None:
    if name is None or _UNSERVED_MODEL.fullmatch(name):
        return name
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_MAX_MODEL_CHARS]) if served else OTHER


def _place(place: PlaceT, served: bool) -> PlaceT:
    name = _model(place.model_id, served)
    return place if name == place.model_id else msgspec.structs.replace(place, model_id=name)


def _reasoning(word: str | None) -> str | None:
    return word if word is None or _REASONING.fullmatch(word) else OTHER


def _note(note: str, served: bool) -> str:
    """`word`, or `word:name of a model`."""
    word, colon, name = note.partition(":")
    return f"{word}:{_model(name, served)}" if colon else note
