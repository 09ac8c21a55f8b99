"""Who calls."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.access import ANONYMOUS, KeyRing, digest, key_id, new_secret, presented_key
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
    caller = KeyRing([KEY], required=True).identify(KEY.encode())
    assert caller.key_id == key_id(KEY)
    assert len(key_id(KEY)) == 8
    assert key_id(KEY) not in KEY


@given(st.binary(max_size=200).filter(lambda presented: presented != KEY.encode()))
def test_any_other_bytes_are_refused_and_never_quoted(presented: bytes) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        KeyRing([KEY], required=True).identify(presented)
    text = presented.decode("latin-1")
    assert len(text) < 8 or text not in str(caught.value)


def test_without_a_need_for_keys_everybody_is_anonymous() -> None:
    ring = KeyRing([], required=False)
    assert ring.identify(None) is ANONYMOUS
    assert ring.identify(b"whatever") is ANONYMOUS


def test_the_ring_holds_no_key() -> None:
    ring = KeyRing([KEY], required=True)
    held = repr([getattr(ring, name) for name in KeyRing.__slots__])
    assert KEY not in held


def test_a_new_secret_begins_with_what_may_be_shown_and_never_comes_twice() -> None:
    made = [new_secret() for _ in range(50)]
    assert all(re.fullmatch(r"sk-fk-[0-9a-f]{12}-[A-Za-z0-9_-]{43}", raw) for raw, _ in made)
    assert all(raw.startswith(f"{prefix}-") and len(prefix) == 18 for raw, prefix in made)
    assert len({raw.removeprefix(prefix) for raw, prefix in made}) == len({prefix for _, prefix in made}) == 50


def test_a_digest_depends_on_the_pepper() -> None:
    raw, _ = new_secret()
    assert digest(b"a" * 32, raw.encode()) == hashlib.blake2b(raw.encode(), key=b"a" * 32, digest_size=32).digest()
    assert digest(b"a" * 32, raw.encode()) != digest(b"b" * 32, raw.encode())
