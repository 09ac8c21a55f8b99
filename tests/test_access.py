"""Who calls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.access import ANONYMOUS, KeyRing, key_id, presented_key
from fkproxy.model.errors import NotAuthenticated

KEY = "sk-access-tests-0123456789"


@pytest.mark.parametrize(
    ("authorization", "api_key", "goog_api_key", "expected"),
    [
        (b"Bearer abc", None, None, b"abc"),
        (b"bearer  abc ", None, None, b"abc"),
        (b"BEARER abc", b"other", b"third", b"abc"),
        (b"Basic abc", b"other", None, b"other"),
        (b"Basic abc", None, None, None),
        (b"abc", None, None, None),
        (b"", None, b"third", b"third"),
        (None, b"other", b"third", b"other"),
        (None, None, b"third", b"third"),
        (None, None, None, None),
    ],
)
def test_where_a_key_may_stand(
    authorization: bytes | None, api_key: bytes | None, goog_api_key: bytes | None, expected: bytes | None
) -> None:
    assert presented_key(authorization, api_key, goog_api_key) == expected


def test_a_right_key_gives_a_caller_that_can_be_logged() -> None:
    caller = KeyRing([KEY], required=True).check(KEY.encode())
    assert caller.key_id == key_id(KEY)
    assert len(key_id(KEY)) == 8
    assert key_id(KEY) not in KEY


@given(st.binary(max_size=200).filter(lambda presented: presented != KEY.encode()))
def test_any_other_bytes_are_refused_and_never_quoted(presented: bytes) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        KeyRing([KEY], required=True).check(presented)
    text = presented.decode("latin-1")
    assert len(text) < 8 or text not in str(caught.value)


def test_without_a_need_for_keys_everybody_is_anonymous() -> None:
    ring = KeyRing([], required=False)
    assert ring.check(None) is ANONYMOUS
    assert ring.check(b"whatever") is ANONYMOUS


def test_the_ring_holds_no_key() -> None:
    ring = KeyRing([KEY], required=True)
    held = repr([getattr(ring, name) for name in KeyRing.__slots__])
    assert KEY not in held
