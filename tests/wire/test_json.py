"""JSON in and out."""

from __future__ import annotations

import pytest

from fkproxy.model.errors import InvalidRequest, UpstreamProtocolError
from fkproxy.wire import json


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"1", b"\xff", b'{"a":\n', b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_object_is_refused_with_the_right_blame(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        json.decode_request(body)
    with pytest.raises(UpstreamProtocolError):
        json.decode_reply(body)
    assert json.try_object(body.decode("latin-1")) is None


def test_half_a_character_is_blamed_on_whoever_sent_it() -> None:
    body = b'{"a":"\xe2\x82"}'
    with pytest.raises(InvalidRequest):
        json.decode_request(body)
    with pytest.raises(UpstreamProtocolError):
        json.decode_reply(body)
    with pytest.raises(ValueError, match="utf-8"):
        json.loads(body)


@pytest.mark.parametrize(
    ("body", "half"),
    [
        (rb'{"a":"\ud83d"}', 6),
        (rb'{"a":"x \uD83D y"}', 8),
        (rb'{"a":"\ude00"}', 6),
        (rb'{"a":"\ud83d\ud83d\ude00"}', 6),
        (rb'{"a":"\ud83d\ude00\ude00"}', 18),
        (rb'{"a":"\\ud83d \n\u00e9\ud83d\n"}', 22),
        (rb'{"a":"\ud83d\ude00\\ud83d"', None),
        (rb'{"a":"\\ud83d', None),
        (rb'{"a":"\ud83', None),
        (rb'{"a":', None),
    ],
)
def test_half_a_surrogate_pair_is_told_as_such_and_not_as_a_body_that_was_cut_off(body: bytes, half: int | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        json.decode_request(body)
    told = f"surrogate pair stands alone, as where an emoji was cut in two (byte {half})" if half is not None else "truncated"
    assert told in str(caught.value)


def test_an_error_about_a_reply_does_not_quote_it() -> None:
    with pytest.raises(UpstreamProtocolError) as caught:
        json.decode_reply(b'{"secret canary')
    assert "canary" not in str(caught.value)


def test_equal_values_give_equal_bytes_in_the_order_of_their_keys() -> None:
    value = {"b": 1, "a": [True, None, 1.5, "ü\u2028"]}
    assert json.encode(value) == '{"b":1,"a":[true,null,1.5,"ü\u2028"]}'.encode()
    assert json.loads(json.encode(value)) == value


def test_loads_raises_what_everybody_catches() -> None:
    for text in ("", "{", "[" * 100_000):
        with pytest.raises(ValueError, match=r"JSON|truncated|recursion"):
            json.loads(text)
