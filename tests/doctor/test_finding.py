"""What is found, as people and programs read it."""

from __future__ import annotations

import json

from fkproxy.doctor.finding import as_json, as_table, error, exit_code, note, ok, warning

FINDINGS = [ok("disk", "plenty"), note("codex", "absent"), warning("clock", "late", "wind it"), error("port", "taken", "free it")]


def test_the_exit_code_is_the_worst_of_all() -> None:
    assert [exit_code(FINDINGS[:count]) for count in range(5)] == [0, 0, 0, 1, 2]


def test_people_read_a_line_each_with_the_fix_below() -> None:
    assert as_table(FINDINGS).splitlines() == [
        "ok       disk   plenty",
        "note     codex  absent",
        "warning  clock  late",
        "                -> wind it",
        "error    port   taken",
        "                -> free it",
        "1 error, 1 warning",
    ]


def test_programs_read_the_same() -> None:
    value = json.loads(as_json(FINDINGS))
    assert value["exit_code"] == 2
    assert value["findings"][3] == {"check": "port", "severity": "error", "message": "taken", "fix": "free it"}
