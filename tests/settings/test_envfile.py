"""Environment files mean what they mean to systemd."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.settings.envfile import read_environment_file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=b", {"A": "b"}),
        ("A=b\r\nC=d\r\n", {"A": "b", "C": "d"}),
        ("  A = b  \n\n\t\nC=\n", {"A": "b", "C": ""}),
        ("# A=b\n; C=d\nE=f # not a comment", {"E": "f # not a comment"}),
        ("# ends in a backslash \\\n\nA=b\n# at the end \\\n", {"A": "b"}),
        ("# /===\\\n# | |\n ; \\\n  # so\nA=b", {"A": "b"}),
        ("A=b=c", {"A": "b=c"}),
        ("A='b # c'\nD=\"e 'f'\"", {"A": "b # c", "D": "e 'f'"}),
        ("A='two\nlines'\nB=c", {"A": "two\nlines", "B": "c"}),
        ("A=\"b\" 'c'", {"A": "bc"}),
        ('A="x\\"y\\\\z\\$H\\n"', {"A": 'x"y\\z$H\\n'}),
        ("A=$HOME", {"A": "$HOME"}),
        ("A=b\\\nc\nD=e", {"A": "bc", "D": "e"}),
        ("A=b\\ c", {"A": "b c"}),
        ("A=b\\  \nC=d\\", {"A": "b ", "C": "d"}),
        ('A={"x": "y"}', {"A": '{"x": "y"}'}),
        ("A=b\nA=c", {"A": "c"}),
        ("", {}),
    ],
)
def test_a_file_is_read_as_systemd_reads_it(tmp_path: Path, text: str, expected: dict[str, str]) -> None:
    path = tmp_path / "env"
    path.write_bytes(text.encode())
    assert read_environment_file(path) == (expected, [])


@given(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])))
def test_whatever_is_quoted_comes_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("env") / "env"
    escaped = "".join(f"\\{c}" if c in '"\\`$' else c for c in text)
    path.write_bytes(f'A="{escaped}"\nB=c'.encode())
    assert read_environment_file(path) == ({"A": text, "B": "c"}, [])


def test_every_wrong_line_is_named_and_none_is_quoted(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("A=b\nhunter2secret\nexport C=hunter2secret\n1D=hunter2secret\nE='never closed hunter2secret\nF=g")
    values, problems = read_environment_file(path)
    assert [(problem.name, problem.message) for problem in problems] == [
        (f"{path}:2", "expected NAME=value"),
        (f"{path}:3", "expected NAME=value"),
        (f"{path}:4", "expected NAME=value"),
        (f"{path}:5", "the quote that opens the value of E is never closed"),
    ]
    assert problems[1].hint == "leave out 'export'"
    assert "hunter2" not in str(problems)
    assert values == {"A": "b", "E": "", "F": "g"}
    _, problems = read_environment_file(path, tmp_path / "original")
    assert problems[0].name == f"{tmp_path / 'original'}:2"


def test_a_comment_that_takes_the_next_line_along_is_told(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("A=b\n# hunter2secret \\\nC=d\n")
    values, problems = read_environment_file(path)
    assert values == {"A": "b", "C": "d"}
    assert [problem.name for problem in problems] == [f"{path}:2"]
    assert "the next line is a part of this comment" in problems[0].message
    assert "hunter2" not in str(problems)


def test_a_comment_may_hold_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_bytes(b"# caf\xe9\nA=b\n; \xff\nC=\xc3\xa9")
    assert read_environment_file(path) == ({"A": "b", "C": "é"}, [])


@pytest.mark.parametrize(
    ("data", "place", "said"),
    [
        (None, "", "no such file"),
        (b"# \xff\nA=\xff", ":2", "the value of A is not UTF-8"),
        (b"A='\xff\n'", ":1", "the value of A is not UTF-8"),
        (b"\xff=A", ":1", "expected NAME=value"),
        (b"\n# \0\nA=b", ":2", "a zero byte"),
        ("A=b".encode("utf-16"), ":1", "a zero byte"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, data: bytes | None, place: str, said: str) -> None:
    path = tmp_path / "env"
    if data is not None:
        path.write_bytes(data)
    values, (problem,) = read_environment_file(path)
    assert set(values.values()) <= {""}
    assert problem.name == f"{path}{place}"
    assert said in problem.message
