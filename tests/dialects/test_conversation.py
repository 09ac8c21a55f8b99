"""Which calls belong together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.conversation import opening_key, reply_key


def key(dialect: str, body: Any, **headers: str) -> bytes | None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return DIALECTS[dialect].conversation.read({name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}, raw)


SYSTEM = {"role": "system", "content": "be kind"}


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text, **more}]}


LATER = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "and?"}]


@pytest.mark.parametrize(
    ("dialect", "first", "later", "other"),
    [
        (
            "openai_chat",
            {"model": "m", "messages": [SYSTEM, user("a")]},
            {"model": "n", "messages": [SYSTEM, user("a"), *LATER], "temperature": 1},
            {"model": "m", "messages": [SYSTEM, user("b")]},
        ),
        (
            "anthropic",
            {"system": "s", "messages": [user("a", cache_control={"type": "ephemeral"})]},
            {"system": "s", "messages": [user("a"), *LATER]},
            {"system": "t", "messages": [user("a")]},
        ),
        (
            "openai_responses",
            {"instructions": "i", "input": [{"role": "developer", "content": "d"}, user("a")]},
            {"instructions": "i", "input": [{"role": "developer", "content": "d"}, user("a"), *LATER]},
            {"instructions": "i", "input": "a"},
        ),
        (
            "gemini",
            {"contents": [{"parts": [{"text": "a"}]}]},
            {"contents": [{"parts": [{"text": "a"}]}, {"role": "model", "parts": []}, {"role": "user", "parts": []}]},
            {"systemInstruction": {"parts": [{"text": "s"}]}, "contents": [{"parts": [{"text": "a"}]}]},
        ),
    ],
)
def test_later_turns_repeat_the_opening_and_other_conversations_have_another(dialect: str, first: Any, later: Any, other: Any) -> None:
    assert key(dialect, first) == key(dialect, later) is not None
    assert key(dialect, first) != key(dialect, other)


def test_an_opening_is_told_by_all_of_it_and_the_same_after_a_restart() -> None:
    opening = b"x" * 100_000
    others = [opening + b"x", opening[:-1], opening[:-1] + b"y", b"y" + opening[1:], opening[:50_000] + b"y" + opening[50_001:], b""]
    assert len({opening_key(each) for each in (opening, *others)}) == 7
    assert opening_key(b"123456789") == b"cbf43926.9"  # the check value of CRC-32/ISO-HDLC
    assert len(opening_key(b"x" * 1024 * 1024)) <= 16


@pytest.mark.parametrize("size", [0, 1_000, 16_300, 16_360, 16_384, 20_000, 140_000, 500_000])
def test_an_opening_up_to_a_megabyte_is_told_by_its_very_bytes(size: int) -> None:
    opening = [{"role": "system", "content": ("“\\” \n é 漢 🙂 " * size)[:size]}, {"role": "developer", "content": "x"}, user("a")]
    pieces = [json.dumps(message, ensure_ascii=False) for message in opening]
    later = ", ".join([*pieces, *(json.dumps(message) for message in LATER)])
    body = f'{{"messages": [{later}], "model": "m"}}'.encode()
    assert key("openai_chat", body) == opening_key("\0".join(pieces).encode())


@pytest.mark.parametrize(
    ("dialect", "field", "value"),
    [
        ("openai_chat", "prompt_cache_key", "k"),
        ("openai_chat", "user", "u"),
        ("openai_responses", "conversation", "conv_1"),
        ("openai_responses", "conversation", {"id": "conv_1"}),
        ("anthropic", "metadata", {"user_id": "session"}),
        ("gemini", "cachedContent", "cachedContents/1"),
    ],
)
def test_a_field_of_the_client_wins_over_the_opening(dialect: str, field: str, value: Any) -> None:
    name = "contents" if dialect == "gemini" else "messages"
    assert key(dialect, {field: value, name: [user("a")]}) == key(dialect, {field: value, name: [user("b")]})
    assert key(dialect, {field: value, name: [user("a")]}) != key(dialect, {name: [user("a")]})


def test_a_header_wins_over_everything_and_is_the_same_in_every_dialect() -> None:
    expected = key("openai_chat", {}, session_id="s-1")
    assert expected is not None
    assert key("anthropic", {"metadata": {"user_id": "u"}}, session_id="s-1") == expected
    assert key("anthropic", {}, x_claude_code_session_id="s-1") == expected


def test_an_earlier_reply_that_is_named_is_the_surest_sign() -> None:
    assert key("openai_responses", {"previous_response_id": "resp_1", "prompt_cache_key": "k"}) == reply_key("resp_1")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"{}", b'{"messages": "x"', b'{"prompt_cache_key": 5}'])
def test_nothing_tells(body: bytes) -> None:
    assert key("openai_chat", body) is None


def test_thousands_of_messages_that_are_not_the_users_are_told_by_the_first() -> None:
    many = [{"role": "system"}] * 1000
    assert key("openai_chat", {"messages": [*many, user("a")]}) == key("openai_chat", {"messages": [*many, *many, user("b")]})
    assert key("openai_chat", {"messages": [*many[1:], user("a")]}) != key("openai_chat", {"messages": [*many[1:], user("b")]})


@pytest.mark.parametrize("at", range(16_380, 16_390))
def test_a_number_at_the_end_of_what_is_looked_at_first_is_whole(at: int) -> None:
    numbers = [" " * at + "12345678", '{"role": "user"}']
    body = f'{{"messages":[{",".join(numbers)}]}}'.encode()
    assert key("openai_chat", body) == opening_key(b'12345678\0{"role": "user"}')


@pytest.mark.parametrize("number", ["12345678", "0.5", "1e5", "-1.25e-7"])
def test_where_a_number_is_cut_makes_no_difference(number: str) -> None:
    later = [
        key("openai_chat", f'{{"messages":["{"x" * at}",{number},{{"role":"user"}}{more}]}}'.encode())
        for at in range(16_384 - len(number) - 10, 16_384)
        for more in ("", ',{"role":"assistant"}')
    ]
    assert later[::2] == later[1::2]


USER = '{"role":"user"}'


@pytest.mark.parametrize(
    "opening",
    [
        USER,
        '{ "content" : "it is" }',
        ' \t{"role":"system","role":null} ,\n{"role":"user","role":"system"},{"role":"system","role":"user"}\n',
        f'{{"r\\u006fle":"user"}},{USER}',
        f'{{"role":"\\ud800"}},{USER}',
        f'{{"role":"us\\u0065r","content":"\\ud800"}},{USER}',
        f'{{"role":["user"]}},{{"role":{{"user":1}}}},{{"role":1.50}},{USER}',
        f'null,true,-1.50e+3,"user",["user"],[[]],{{"a":{{"role":"user"}},"role":"x"}},{USER}',
        f'{{"role":"system","content":"“\u007f\\" é 漢 🙂"}},{USER}',
        f'{{"role":"system","content":{"9" * 400}}},{USER}',
        f'{{"role":"system","content":{"[" * 500}{"]" * 500}}},{USER}',
    ],
)
def test_a_conversation_is_the_same_when_it_has_grown_long(opening: str) -> None:
    later = f',{{"role":"assistant","content":"{"x" * 20_000}"}}'
    assert key("openai_chat", f'{{"messages":[{opening}]}}'.encode()) == key("openai_chat", f'{{"messages":[{opening}{later}]}}'.encode())


def test_of_an_endless_opening_a_megabyte_tells() -> None:
    system = {"role": "system", "content": [{"a": []}] * 200_000}
    other = {"role": "system", "content": [{"b": []}] * 200_000}
    assert key("openai_chat", {"messages": [system, user("a")]}) == key("openai_chat", {"messages": [system, user("a"), user("b")]})
    assert key("openai_chat", {"messages": [system, user("a")]}) != key("openai_chat", {"messages": [other, user("a")]})


def test_odd_messages_do_no_harm() -> None:
    assert key("openai_chat", {"messages": [5, None, "x"]}) is not None
    assert key("openai_chat", {"messages": "hello"}) is not None
