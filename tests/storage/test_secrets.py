"""Sealed values: opened by the right key of the right version, and by nothing else."""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.directory import Document
from fkproxy.storage.secrets import SecretBox, add_key, is_sealed, load_keys, open_box, parse_keys
from fkproxy.storage.values import SecretLost
from tests.fakes.sealed import sealed_in
from tests.storage.conftest import KEYS, NEWER_KEYS

PEPPER = b"p" * 32
BOX = SecretBox(parse_keys(KEYS), PEPPER)
NEWER = SecretBox(parse_keys(NEWER_KEYS), PEPPER)


@given(st.text())
def test_what_was_sealed_opens(value: str) -> None:
    sealed = BOX.seal(value)
    assert BOX.open(sealed) == value
    assert is_sealed(sealed)
    assert BOX.open(msgspec.json.decode(msgspec.json.encode(sealed))) == value


def test_a_sealed_value_holds_nothing_of_it() -> None:
    text = msgspec.json.encode(BOX.seal("canary-canary-canary")).decode()
    assert "canary" not in text
    assert base64.b64encode(b"canary-canary-canary").decode()[:12] not in text


def test_sealing_twice_gives_other_bytes_and_one_fingerprint() -> None:
    first, second = BOX.seal("one")["sealed"], BOX.seal("one")["sealed"]
    assert first["data"] != second["data"]
    assert first["fingerprint"] == second["fingerprint"] == BOX.fingerprint("one") != BOX.fingerprint("two")


def test_a_fingerprint_has_the_form_and_depends_on_the_installation_but_not_on_the_key() -> None:
    assert BOX.fingerprint("x") == NEWER.fingerprint("x")
    assert BOX.fingerprint("x") != SecretBox(parse_keys(KEYS), b"q" * 32).fingerprint("x")
    word, _, digest = BOX.fingerprint("x").partition(":")
    assert (word, len(digest)) == ("sha256", 12)


def test_nothing_is_sealed_without_the_pepper() -> None:
    with pytest.raises(ValueError, match="pepper"):
        SecretBox(parse_keys(KEYS)).seal("x")


@pytest.mark.parametrize("field", ["id", "data", "version"])
def test_an_altered_one_does_not_open(field: str) -> None:
    sealed = NEWER.seal("value")
    other = {"id": "0" * 16, "data": NEWER.seal("value")["sealed"]["data"], "version": 1}[field]
    with pytest.raises(SecretLost) as caught:
        NEWER.open({"sealed": {**sealed["sealed"], field: other}})
    assert "value" not in str(caught.value)
    assert caught.value.version == (1 if field == "version" else 2)


@pytest.mark.parametrize("data", ["", "not base64!", "AAAA"])
def test_damaged_data_does_not_open(data: str) -> None:
    with pytest.raises(SecretLost):
        BOX.open({"sealed": {**BOX.seal("value")["sealed"], "data": data}})


def test_the_key_of_an_older_version_opens_still_and_the_newest_seals() -> None:
    assert NEWER.open(BOX.seal("old")) == "old"
    assert NEWER.seal("new")["sealed"]["version"] == 2
    assert NEWER.versions == (1, 2)


def test_a_missing_version_is_named() -> None:
    with pytest.raises(SecretLost, match=r"version 2 .* not among those given \(1\)") as caught:
        BOX.open(NEWER.seal("value"))
    assert caught.value.version == 2


def test_another_key_of_the_same_version_is_named() -> None:
    stranger = SecretBox({1: b"s" * 32}, PEPPER)
    with pytest.raises(SecretLost, match="version 1 of the key, but not with the one given"):
        stranger.open(BOX.seal("value"))


def test_a_version_that_was_added_since_is_looked_for() -> None:
    box = SecretBox(parse_keys(KEYS), PEPPER, again=lambda: parse_keys(NEWER_KEYS))
    assert box.open(NEWER.seal("value")) == "value"


def test_keys_that_are_wrong_by_now_seal_nothing_and_are_told() -> None:
    box = SecretBox(parse_keys(KEYS), PEPPER, again=lambda: parse_keys("1:short"))
    for act in (lambda: box.seal("value"), lambda: box.reseal({"key": BOX.seal("value")})):
        with pytest.raises(SecretLost, match="version 1 of the keys for secrets is not base64"):
            act()
    assert box.open(BOX.seal("value")) == "value"


STRUCTURE: dict[str, Any] = {"list": [{"api_key": BOX.seal("a")}, "text", 3, None], "tuple": (BOX.seal("b"),), "sealed": "not one"}


def test_a_newer_key_that_was_added_since_seals() -> None:
    keys = [KEYS]
    box = SecretBox(parse_keys(KEYS), PEPPER, again=lambda: parse_keys(keys[-1]))
    before = box.seal("value")
    keys.append(NEWER_KEYS)
    for sealed in (box.seal("value"), box.reseal(before)):
        assert (before["sealed"]["version"], sealed["sealed"]["version"]) == (1, 2)
        assert NEWER.open(sealed) == "value"


def test_every_sealed_value_in_a_structure_is_found() -> None:
    assert [BOX.open(sealed) for sealed in sealed_in(STRUCTURE)] == ["a", "b"]
    document = Document(providers=({"credentials": [{"api_key": BOX.seal("c")}]},))
    assert [BOX.open(sealed) for sealed in sealed_in(document)] == ["c"]


def test_resealing_changes_the_seals_and_nothing_else() -> None:
    after = NEWER.reseal(STRUCTURE)
    assert [sealed["sealed"]["version"] for sealed in sealed_in(after)] == [2, 2]
    assert [NEWER.open(sealed) for sealed in sealed_in(after)] == ["a", "b"]
    assert [sealed["sealed"]["fingerprint"] for sealed in sealed_in(after)] == [NEWER.fingerprint("a"), NEWER.fingerprint("b")]
    assert (after["list"][1:], after["sealed"], type(after["tuple"])) == (["text", 3, None], "not one", tuple)
    assert NEWER.reseal(after) == after


def test_a_document_is_resealed_as_one() -> None:
    document = Document(providers=({"name": "x", "api_key": BOX.seal("c")},), settings={"APP_X__Y": "z"})
    after = NEWER.reseal(document)
    assert isinstance(after, Document)
    assert (after.settings, after.providers[0]["name"], NEWER.open(after.providers[0]["api_key"])) == (document.settings, "x", "c")


KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no key"),
        (" ,\n", "there is no key"),
        ("nonsense", "entry 1 .* version:base64"),
        (f"1:{KEY},x:{KEY}", "entry 2 .* version:base64"),
        (f"0:{KEY}", "entry 1 .* version from 1"),
        (f"1:{KEY},1:{KEY}", "version 1 .* twice"),
        ("1:***", "version 1 .* is not base64"),
        ("7:c2hvcnQ=", "version 7 .* has 5 bytes, it must have 32"),
    ],
)
def test_bad_key_material_is_told_clearly(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_keys(text)


def test_keys_may_stand_in_lines_and_in_the_alphabet_of_urls() -> None:
    key = bytes([0xFB, 0xFF]) + bytes(30)
    assert parse_keys(f"1:{KEY},\n 2:{base64.urlsafe_b64encode(key).decode()}\n") == {1: bytes(32), 2: key}


def test_a_key_file_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "state" / "secrets.key"
    keys, kept_in = load_keys(None, file, may_make=True)
    assert kept_in is not None
    assert (kept_in.path, kept_in.made) == (file, True)
    assert file.stat().st_mode & 0o777 == 0o600
    again, kept_in = load_keys(None, file, may_make=True)
    assert again == keys
    assert kept_in is not None
    assert not kept_in.made
    assert [path.name for path in file.parent.iterdir()] == ["secrets.key"]


def test_many_who_make_it_at_once_get_one(tmp_path: Path) -> None:
    file = tmp_path / "secrets.key"
    found: list[tuple[dict[int, bytes], Any]] = []
    threads = [threading.Thread(target=lambda: found.append(load_keys(None, file, may_make=True))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({str(keys) for keys, _ in found}) == 1
    assert sum(kept_in.made for _, kept_in in found) == 1


def test_a_lost_key_file_is_not_replaced_by_another_key(tmp_path: Path) -> None:
    with pytest.raises(SecretLost, match=r"secrets\.key"):
        load_keys(None, tmp_path / "secrets.key", may_make=False)
    assert not list(tmp_path.iterdir())


def test_configured_keys_go_before_a_file(tmp_path: Path) -> None:
    assert load_keys(KEYS, tmp_path / "secrets.key", may_make=True) == ({1: bytes(32)}, None)
    assert not list(tmp_path.iterdir())


def test_a_file_gets_a_newer_key_beside_the_old(tmp_path: Path) -> None:
    file = tmp_path / "secrets.key"
    file.write_text(KEYS)
    keys = add_key(file)
    assert keys == parse_keys(file.read_text())
    assert sorted(keys) == [1, 2]
    assert keys[1] == bytes(32) != keys[2]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_box_is_opened_from_what_a_snapshot_holds(tmp_path: Path) -> None:
    pepper = SecretBox(parse_keys(KEYS)).fresh_pepper()
    box, value = open_box(KEYS, tmp_path, pepper)
    assert len(value) == 32
    assert box.open(box.seal("x")) == "x"
    assert open_box(NEWER_KEYS, tmp_path, pepper)[1] == value
