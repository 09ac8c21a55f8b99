"""One instance, asked over a socket."""

from __future__ import annotations

import socket

import pytest

from fkproxy.remote import Administrator, Refusal
from tests.remote.instance import KEY, Instance
from tests.remote.scripted import Scripted


def test_a_real_gateway_answers_and_long_answers_come_in_pieces(gateway: Instance) -> None:
    administrator = Administrator(gateway.url, KEY)
    assert [each["key"] for each in administrator.upstreams()] == ["sandbox"]
    assert b"".join(administrator.read("/calls/export", format="csv")).startswith(b"time,request_id,")


def test_what_is_asked_goes_as_json_and_nothing_is_asked_for_none(stand_in: Scripted) -> None:
    Administrator(stand_in.url, "k").ask("POST", "/x", {"a": None}, one=1, two=None, three="a b")
    assert stand_in.asked == [("POST", "/admin/api/x?one=1&three=a+b", "Bearer k", {"a": None})]
    Administrator(stand_in.url.removeprefix("http://"), None).ask("GET", "/x")
    assert stand_in.asked[-1] == ("GET", "/admin/api/x", None, None)


def test_what_is_wrong_is_told_field_by_field(stand_in: Scripted) -> None:
    problems = [{"name": "pool", "message": "is no pool", "hint": "create one"}, {"name": "label", "message": "is too long", "hint": None}]
    stand_in.say("/admin/api/keys", {"error": {"message": "nothing was changed", "problems": problems}}, 422)
    with pytest.raises(Refusal) as refused:
        Administrator(stand_in.url, "k").ask("POST", "/keys", {})
    assert str(refused.value).splitlines() == ["pool: is no pool; create one", "label: is too long", "422 nothing was changed"]
    assert refused.value.status == 422


@pytest.mark.parametrize(("status", "body"), [(500, b"<html>"), (502, b"[]"), (503, b"")])
def test_an_answer_in_another_shape_is_a_refusal_too(status: int, body: bytes, stand_in: Scripted) -> None:
    stand_in.say("/admin/api/keys", body, status)
    with pytest.raises(Refusal, match=str(status)):
        Administrator(stand_in.url, "k").ask("GET", "/keys")
    with pytest.raises(Refusal, match=str(status)):
        list(Administrator(stand_in.url, "k").read("/keys"))


def test_nobody_there_is_told_with_the_address() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(Refusal, match=f"no answer from {at}: Connection refused"):
            Administrator(at, None).upstreams()


def test_an_instance_that_says_nothing_is_told_with_how_long_it_was_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Refusal, match=f"no answer from {at}: nothing came within 0.05 s"):
            Administrator(at, None).ask("GET", "/upstreams", timeout_s=0.05)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "unix:///run/x", "http://ex ample"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an http address"):
        Administrator(url, None)
