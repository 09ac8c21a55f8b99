"""Upstreams, the store, and what all commands have in common."""

from __future__ import annotations

import argparse
import http.client
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fkproxy import cli
from tests.remote.conftest import Type
from tests.remote.instance import KEY, Instance
from tests.remote.scripted import Scripted

UPSTREAM: dict[str, Any] = {
    "key": "one/a",
    "state": "limited",
    "cause": "failure",
    "breaker": "closed",
    "retry_after_s": 12.5,
    "consecutive_failures": 3,
    "in_flight": 1,
    "last_error": "timeout",
    "models": [{"model_id": "m", "state": "exhausted", "cause": "model_quota", "retry_after_s": 60.0}],
}


@pytest.mark.parametrize("words", ["upstreams test one/a", "audit verify", "store backup", "store reseal"])
def test_what_the_gateway_gives_minutes_is_waited_for(words: str, tell: Type, stand_in: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    waited_s: list[float] = []

    class Noted(http.client.HTTPConnection):
        def connect(self) -> None:
            waited_s.append(self.timeout or 0.0)
            super().connect()

    monkeypatch.setattr("http.client.HTTPConnection", Noted)
    stand_in.say(f"/admin/api/{'/'.join(words.split()[:2])}", {"error": {"message": "no"}}, 409)
    assert tell(*words.split()).code == 1
    assert waited_s == [660.0]


# --- upstreams


def test_upstreams_are_a_table(tell: Type, stand_in: Scripted) -> None:
    stand_in.say("/admin/api/upstreams", [UPSTREAM])
    one, model = tell("upstreams").rows
    assert one == ["one/a", "limited", "(failure)", "closed", "12.5", "s", "3", "1", "timeout"]
    assert model == ["m", "exhausted", "(model_quota)", "60", "s"]
    assert [asked[:3] for asked in stand_in.asked] == [("GET", "/admin/api/upstreams", f"Bearer {KEY}")]


def test_a_name_that_a_client_chose_does_not_steer_the_terminal(tell: Type, stand_in: Scripted) -> None:
    held = {"model_id": "\x1b]0;m\x07\x9b2J\u202eé", "state": "limited", "cause": "model_missing", "retry_after_s": 60.0}
    stand_in.say("/admin/api/upstreams", [{**UPSTREAM, "models": [held]}])
    assert tell("upstreams").rows[1][0] == "?]0;m??2J?é"
    assert tell("upstreams", "--json").json()[0]["models"] == [held]
    stand_in.say("/admin/api/upstreams", {"error": {"message": "no \x1b[2J"}}, 409)
    assert tell("upstreams").err == "fkllmproxy: 409 no ?[2J\n"


@pytest.mark.parametrize(
    ("arguments", "path", "answer"),
    [
        (["pause", "one/a"], "/admin/api/upstreams/pause?key=one%2Fa", UPSTREAM),
        (["reset"], "/admin/api/upstreams/reset", [UPSTREAM]),
        (["resume", "one/a"], "/admin/api/upstreams/resume?key=one%2Fa", UPSTREAM),
        (["reload"], "/admin/api/providers/reload", {"upstreams": [UPSTREAM], "warnings": ["odd"]}),
    ],
)
def test_upstreams_are_steered(arguments: list[str], path: str, answer: Any, tell: Type, stand_in: Scripted) -> None:
    stand_in.say(path.partition("?")[0], answer)
    said = tell("upstreams", *arguments)
    assert (said.code, "12.5 s" in said.out) == (0, True)
    assert said.err == ("warning: odd\n" if "reload" in arguments else "")
    assert [asked[:2] for asked in stand_in.asked] == [("POST", path)]


@pytest.mark.parametrize("verb", ["list", "reload"])
def test_what_is_of_all_upstreams_is_not_done_as_if_one_had_been_meant(verb: str, tell: Type, stand_in: Scripted) -> None:
    said = tell("upstreams", verb, "one/a")
    assert (said.code, said.err) == (2, f"fkllmproxy: {verb} is of all upstreams; leave out 'one/a'\n")
    assert stand_in.asked == []


def test_an_upstream_is_tested_with_a_real_call(type_: Type) -> None:
    said = type_("upstreams", "test", "sandbox")
    assert said.code == 0
    assert said.out.startswith("sandbox: sandbox answered in ")
    assert type_("upstreams", "list").rows[0][:2] == ["sandbox", "active"]


# --- the store


def test_how_the_store_stands(type_: Type) -> None:
    lines = type_("store", "status").out.splitlines()
    assert "state: open" in lines
    assert "  dropped: 0" in lines
    assert type_("store", "status", "--json").json()["in_force"] is True


def test_a_backup_is_whole_and_says_what_is_not_in_it(type_: Type, key: tuple[str, str], gateway: Instance) -> None:
    said = type_("store", "backup")
    assert "secrets.key" in said.err
    path = Path(said.out.split()[0])
    assert path.parent == gateway.directory / "backups"
    copy = sqlite3.connect(path)
    assert (key[0],) in copy.execute("SELECT id FROM client_keys").fetchall()
    copy.close()


def test_there_is_nothing_to_seal_anew_with_the_same_key(type_: Type) -> None:
    assert type_("store", "reseal").out == "sealed anew: 0\n"


# --- all of them


def parsers(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Any:
    """Every command with its verbs, by its words."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield words, parser
    for name, child in (below[0].choices if below else {}).items():
        yield from parsers(child, (*words, name))


def test_every_command_says_what_it_does_and_what_each_of_its_words_means() -> None:
    found = dict(parsers(cli._parser()))
    assert len(found) > 40
    for words, parser in found.items():
        undescribed = [action.dest for action in parser._actions if not action.help and action.option_strings]
        assert not undescribed, f"{' '.join(words)}: {undescribed}"
        assert len(parser.format_usage().splitlines()) < 12


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["upstreams", "pause", "nobody"], 1, "404 there is no such upstream"),
        (["upstreams", "resume", "broken"], 1, "200, and no JSON; is this the right address?"),
        (["upstreams", "pause"], 2, "name the upstream to pause, as 'fkllmproxy upstreams' does"),
        (["explain", "x", "--key-file", "/nonexistent"], 2, "cannot be read"),
        (["keys", "list"], 1, "name a file that holds it with --key-file"),
    ],
)
def test_refusals_are_plain(arguments: list[str], code: int, told: str, tell: Type, stand_in: Scripted) -> None:
    stand_in.say("/admin/api/upstreams/pause", {"error": {"message": "there is no such upstream"}}, 404)
    stand_in.say("/admin/api/upstreams/resume", b"<html>")
    stand_in.say("/admin/api/keys", {"error": {"message": "the API key is not valid"}}, 401)
    said = tell(*arguments)
    assert (said.code, said.out) == (code, "")
    assert told in said.err
    assert said.err.startswith("fkllmproxy: ")


def test_json_is_all_that_was_answered_and_nothing_else(type_: Type, team: str) -> None:
    made = type_("keys", "create", "--pool", team, "--json")
    assert set(json.loads(made.out)) == {"key", "secret"}
    assert made.err == ""


def test_a_reader_that_has_seen_enough_is_no_error(gateway: Instance, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    command = [sys.executable, "-m", "fkproxy", "settings", "list", "--url", gateway.url, "--key-file", str(tmp_path / "key")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        told = running.stderr.read()
    assert (running.returncode, told) == (141, b"")


def test_a_name_that_is_empty_is_a_wrong_command_line(type_: Type) -> None:
    assert type_("keys", "show", "")[::2] == (2, "fkllmproxy: a name is empty\n")
