"""Values with their lines."""

from __future__ import annotations

import pytest

from fkproxy.settings.locating import NotADocument, read_toml, read_yaml

TOML = """# first line
force-model-prefix = true

[fallbacks]
"gpt-5" = ["a", "b"]

[[providers]]
name = "one"
headers = { X-Team = "blue" }
text = '''
name = "not a key"
'''

[[providers.credentials]]
env = "A"

[[providers.credentials]]
env = "B"

[[providers]]
name = "two"
timeouts.connect = 3
  [[providers.credentials]]
  env = "C"
"""

YAML = """# first line
force-model-prefix: true
providers:
  - name: one
    headers: {X-Team: blue}
    credentials:
      - env: A
      - env: B
  - name: two
    credentials: [{env: C}]
"""


@pytest.mark.parametrize(
    ("place", "toml_line", "yaml_line"),
    [
        (("force_model_prefix",), 2, 2),
        (("providers", 0, "name"), 8, 4),
        (("providers", 0, "headers", "X-Team"), 9, 5),
        (("providers", 0, "credentials", 0, "env"), 15, 7),
        (("providers", 0, "credentials", 1, "env"), 18, 8),
        (("providers", 0, "credentials", 1, "unknown"), 17, 8),
        (("providers", 1, "name"), 21, 9),
        (("providers", 1, "credentials", 0, "env"), 24, 10),
        ((), 1, 1),
    ],
)
def test_the_line_of_a_value(place: tuple[str | int, ...], toml_line: int, yaml_line: int) -> None:
    assert (read_toml(TOML).line(place), read_yaml(YAML).line(place)) == (toml_line, yaml_line)


def test_quoted_and_dotted_names() -> None:
    document = read_toml(TOML)
    assert document.line(("fallbacks", "gpt-5", 1)) == 5
    assert document.line(("providers", 1, "timeouts", "connect")) == 22
    assert document.value["providers"][1]["timeouts"]["connect"] == 3


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [("a = 1\nb =\n", 2, "value"), ("a = 1\na = 2\n", 2, "overwrite"), ("[a\n", 1, "]")],
)
def test_broken_toml(text: str, line: int, said: str) -> None:
    with pytest.raises(NotADocument, match=said) as caught:
        read_toml(text)
    assert caught.value.line == line


def test_a_nest_without_end_is_no_configuration() -> None:
    for read, name in ((read_toml, "a ="), (read_yaml, "a:")):
        with pytest.raises(NotADocument):
            read(f"{name} {'[' * 5000}")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: [\n", 3, "expected"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", 4, "b stands here twice"),
        ("a: !!python/object/apply:os.system [true]\n", 1, "constructor"),
        ("a: \x00\n", None, "YAML"),
        ("a: 1\n--- \nb: 2\n", 2, "another document"),
        ("a: 1\n? [b, c]\n: 2\n", 2, "no name"),
        ("a: 1\nb: 2024-13-45\n", 2, "quote it"),
        ("a: !!timestamp soon\n", 1, "quote it"),
    ],
)
def test_broken_yaml(text: str, line: int | None, said: str) -> None:
    with pytest.raises(NotADocument, match=said) as caught:
        read_yaml(text)
    assert caught.value.line == line


def test_a_yaml_bomb_is_not_unpacked() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    with pytest.raises(NotADocument, match="more values"):
        read_yaml("\n".join(lines))


def test_an_empty_file_holds_nothing() -> None:
    assert read_yaml("# nothing\n").value == {}
    assert read_toml("").value == {}
