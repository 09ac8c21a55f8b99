"""The tree of errors is what the drawing of it says."""

from __future__ import annotations

import re

import pytest

from fkproxy.model import errors

ROW = re.compile(r"[├└] (\w+)(?:\([^)]*\))?(?: / (\w+))?\s+(\d{3}|as sent)(?:/(\d{3}))?\s+(\S+)\s+(\S+)\s+(\w+)(?: / (\w+))?")

DRAWN = [
    (name, status, retry, breaker, code)
    for match in ROW.finditer(errors.__doc__ or "")
    for name, status, retry, breaker, code in (
        (match[1], match[3], match[5], match[6], match[7]),
        (match[2], match[4], match[5], match[6], match[8]),
    )
    if name
]


def test_every_class_is_drawn() -> None:
    groups = {"FkproxyError", "ClientError", "AdmissionError", "UpstreamError"}
    assert {row[0] for row in DRAWN} == set(errors.__all__) - groups


@pytest.mark.parametrize(("name", "status", "retry", "breaker", "code"), DRAWN)
def test_a_class_is_what_is_drawn(name: str, status: str, retry: str, breaker: str, code: str) -> None:
    kind = getattr(errors, name)
    if status != "as sent":
        assert kind.status == int(status)
    assert (kind.retry, kind.breaker, kind.code) == (retry == "yes", breaker == "yes", code)


def test_codes_tell_the_classes_apart() -> None:
    codes = [row[4] for row in DRAWN]
    assert len(set(codes)) == len(codes)


def test_only_what_may_go_better_elsewhere_is_tried_elsewhere() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        if kind.breaker:
            assert kind.retry, name
        if issubclass(kind, errors.ClientError | errors.AdmissionError):
            assert not kind.retry, name


def test_messages_say_what_was_wrong_and_where() -> None:
    assert str(errors.InvalidRequest("a.b", "expected x")) == "a.b: expected x"
    assert str(errors.InvalidRequest(None, "expected x")) == "expected x"
    assert "'m'" in str(errors.UnknownModel("m", "look there"))
    assert str(errors.NoUpstreamAvailable((("a", "open"), ("b", "resting")))).endswith("(a: open, b: resting)")
