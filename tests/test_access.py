"""Who calls."""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.access import ANONYMOUS, KeyRing, digest, key_id, new_secret, presented_key
from fkproxy.directory import Directory, Pool
from fkproxy.model.errors import FkproxyError, NotAuthenticated
from tests.fakes.keys import directory, key, raw, secret

KEY = "sk-access-tests-0123456789"
NOW_S = 1_800_000_000.0


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


@given(st.binary(max_size=200).filter(lambda presented: presented not in (KEY.encode(), raw("a"))), st.booleans())
def test_any_other_bytes_are_refused_and_never_quoted(presented: bytes, clients: bool) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        KeyRing([KEY], required=True, directory=directory(key()) if clients else None).identify(presented)
    text = presented.decode("latin-1")
    assert len(text) < 8 or text not in str(caught.value)


def test_without_a_need_for_keys_everybody_is_anonymous() -> None:
    ring = KeyRing([], required=False)
    assert ring.identify(None) is ANONYMOUS
    assert ring.identify(b"whatever") is ANONYMOUS


def test_the_ring_holds_no_key() -> None:
    ring = KeyRing([KEY], required=True, directory=directory(key()))
    held = repr([getattr(ring, name) for name in KeyRing.__slots__])
    assert KEY not in held
    assert raw("a").decode() not in held
    assert "sk-fk-a" in held, "the prefix may be shown"


def test_a_new_secret_has_its_form_and_256_bits() -> None:
    made = {new_secret() for _ in range(50)}
    assert len(made) == 50
    for secret_, prefix in made:
        assert re.fullmatch(r"sk-fk-[0-9a-f]{12}-[\w-]{43}", secret_)
        assert secret_.startswith(prefix + "-")
        assert len(base64.urlsafe_b64decode(secret_[len(prefix) + 1 :] + "=")) == 32


def test_a_digest_is_the_same_after_a_restart_and_another_with_another_pepper() -> None:
    assert digest(b"pepper", b"raw") == digest(b"pepper", b"raw")
    assert digest(b"pepper", b"raw") != digest(b"other", b"raw")
    assert len(digest(b"pepper", b"raw")) == 32


def told(ring: KeyRing, name: str, now_s: float = NOW_S) -> str:
    """What the client hears, whether it calls or looks: a code, or its key's id."""
    heard = set()
    for door in (ring.admit, ring.check):
        try:
            heard.add(str(door(raw(name), now_s).key_id))
        except FkproxyError as error:
            heard.add(error.code)
    (one,) = heard
    return one


PAUSED = (Pool(name="team", state="paused"),)


@pytest.mark.parametrize(
    ("fields", "pools", "code", "under_way"),
    [
        ({}, (Pool(name="team"),), "key-a", None),
        ({"state": "paused"}, (Pool(name="team"),), "key_paused", "key_paused"),
        ({"state": "revoked"}, (Pool(name="team"),), "invalid_api_key", "key_revoked"),
        ({"expires_s": NOW_S}, (Pool(name="team"),), "key_expired", "key_expired"),
        ({"expires_s": NOW_S + 1}, (Pool(name="team"),), "key-a", None),
        ({"secrets": (secret("a", NOW_S),)}, (Pool(name="team"),), "key_expired", "key_expired"),
        ({"secrets": (secret("a", NOW_S + 1),)}, (Pool(name="team"),), "key-a", None),
        ({"secrets": (secret("a", NOW_S + 9),), "expires_s": NOW_S}, (Pool(name="team"),), "key_expired", "key_expired"),
        ({}, PAUSED, "pool_inactive", "pool_inactive"),
        ({}, (Pool(name="team", state="disabled"),), "pool_inactive", "pool_inactive"),
        ({}, (Pool(name="team", state="archived"),), "pool_inactive", "pool_inactive"),
        ({}, (Pool(name="other"),), "pool_inactive", "pool_inactive"),
        ({"state": "paused", "expires_s": 1.0}, PAUSED, "key_paused", "key_paused"),
        ({"state": "revoked", "expires_s": 1.0}, PAUSED, "invalid_api_key", "key_revoked"),
        ({"secrets": ()}, (Pool(name="team"),), "invalid_api_key", "key_revoked"),
    ],
)
def test_what_a_key_hears_at_the_door_and_under_way(
    fields: dict[str, Any], pools: tuple[Pool, ...], code: str, under_way: str | None
) -> None:
    ring = KeyRing([KEY], required=True, directory=directory(key()))
    caller = ring.identify(raw("a"))
    ring.replace(directory(key(**fields), pools=pools))
    assert told(ring, "a") == code
    ended = ring.ended(caller, NOW_S)
    assert (ended.code if ended is not None else None) == under_way


def test_a_rotated_key_is_known_by_both_secrets_while_they_overlap() -> None:
    ring = KeyRing([], required=True, directory=directory(key(secrets=(secret("old", NOW_S + 60), secret("new")))))
    assert [told(ring, name) for name in ("old", "new")] == ["key-a", "key-a"]
    assert [told(ring, name, NOW_S + 60) for name in ("old", "new")] == ["key_expired", "key-a"]
    assert ring.ends_s == [NOW_S + 60]
    assert {ring.identify(raw(name)).key_prefix for name in ("old", "new")} == {"sk-fk-old", "sk-fk-new"}


@pytest.mark.parametrize("required", [True, False])
def test_the_first_key_closes_the_clients_routes_and_only_the_last_deleted_one_opens_them(required: bool) -> None:
    ring = KeyRing([KEY], required=required)

    def master() -> str:
        try:
            caller = ring.identify(KEY.encode())
            caller.check(NOW_S)
        except FkproxyError as error:
            return f"{error.status} {error.code}"
        return str(caller.key_id)

    before = master()
    assert (ring.required, before) == (required, key_id(KEY) if required else "None")
    for state in ("active", "paused", "revoked"):
        ring.replace(directory(key(state=state)))
        assert ring.required
        assert ring.closed is required
        assert master() == "403 administrator_key"
        assert ring.check(KEY.encode(), NOW_S).key_id == key_id(KEY), "it may look all the same"
    ring.replace(Directory())
    assert (ring.required, master()) == (required, before)


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("keys", [(), (key(),)])
def test_only_the_master_key_is_the_administrators(required: bool, keys: tuple[Any, ...]) -> None:
    ring = KeyRing([KEY], required=required, directory=directory(*keys))
    assert ring.check_administrator(KEY.encode()).key_id == key_id(KEY)
    for presented, status in ((None, 401), (b"", 401), (b"wrong", 401), (raw("a"), 403 if keys else 401)):
        with pytest.raises(FkproxyError) as caught:
            ring.check_administrator(presented)
        assert caught.value.status == status


def test_a_revoked_key_is_told_nothing_at_the_administrators_door() -> None:
    ring = KeyRing([KEY], required=True, directory=directory(key(state="revoked")))
    with pytest.raises(NotAuthenticated):
        ring.check_administrator(raw("a"))


def test_another_pepper_ends_every_key() -> None:
    ring = KeyRing([], required=True, directory=msgspec.structs.replace(directory(key()), pepper=b"another"))
    assert told(ring, "a") == "invalid_api_key"


def test_nobody_comes_in_without_a_key_where_nobody_knows_whether_there_are_any() -> None:
    ring = KeyRing([], required=False, directory=Directory(known=False))
    with pytest.raises(NotAuthenticated):
        ring.identify(None)
    assert not ring.closed
    ring.replace(Directory())
    assert ring.identify(None) is ANONYMOUS
