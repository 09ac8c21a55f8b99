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

BRANCH = re.compile(r"^ {4}((?:│ |  )*)[├└] (\w+)(?:\([^)]*\))?(?: / (\w+))?", re.MULTILINE)


def nested() -> list[tuple[str, str]]:
    """(class, the class it hangs from) of every branch in the drawing."""
    above = ["FkproxyError"]
    found: list[tuple[str, str]] = []
    for match in BRANCH.finditer(errors.__doc__ or ""):
        depth = len(match[1]) // 2
        found += [(name, above[depth]) for name in (match[2], match[3]) if name]
        above = [*above[: depth + 1], match[2]]
    return found


@pytest.mark.parametrize(("name", "parent"), nested())
def test_a_class_hangs_where_it_is_drawn(name: str, parent: str) -> None:
    assert getattr(errors, name).__bases__ == (getattr(errors, parent),)


def test_the_drawing_hangs_every_class_but_the_root_once() -> None:
    assert sorted([name for name, _ in nested()]) == sorted(set(errors.__all__) - {"FkproxyError"})


def test_every_class_is_drawn() -> None:
    groups = {"FkproxyError", "ClientError", "AdmissionError", "UpstreamError"}
    assert {row[0] for row in DRAWN} == set(errors.__all__) - groups


@pytest.mark.parametrize(("name", "status", "retry", "breaker", "code"), DRAWN)
def test_a_class_is_what_is_drawn(name: str, status: str, retry: str, breaker: str, code: str) -> None:
    kind = getattr(errors, name)
    if status != "as sent":
        assert kind.status == int(status)
    assert (kind.retry, kind.breaker, kind.code) == (retry == "yes", breaker == "yes", code)


@pytest.mark.parametrize(
    ("error", "status", "retry_after_s", "param", "upstream_status"),
    [
        (errors.InvalidRequest("a.b", "expected x"), 400, None, "a.b", None),
        (errors.Unrepresentable("a tool", "gemini"), 400, None, "a tool", None),
        (errors.UnknownModel("m"), 404, None, "model", None),
        (errors.RateLimited(2.5), 429, 2.5, None, None),
        (errors.ConcurrencyExceeded(4), 429, 1.0, None, None),
        (errors.NoUpstreamAvailable((), retry_after_s=3.0), 503, 3.0, None, None),
        (errors.UpstreamRejected(422, "no", param="p", native_code="c"), 422, None, "p", 422),
        (errors.UpstreamRefusedCredential("no", upstream_status=401), 502, None, None, 401),
        (errors.UpstreamRateLimited("wait", retry_after_s=7.0), 429, 7.0, None, 429),
        (errors.UpstreamOverloaded("busy", retry_after_s=9.0, upstream_status=529), 503, 9.0, None, 529),
        (errors.UpstreamFailed("boom", upstream_status=500), 502, None, None, 500),
        (errors.UpstreamUnavailable("gone"), 502, None, None, None),
        (errors.UpstreamTimeout("silence", 60.0), 504, None, None, None),
        (errors.InternalError(), 500, None, None, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_carries_its_data(
    error: errors.FkproxyError, status: int, retry_after_s: float | None, param: str | None, upstream_status: int | None
) -> None:
    assert (error.status, error.retry_after_s, error.param) == (status, retry_after_s, param)
    assert getattr(error, "upstream_status", None) == upstream_status


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
