"""Reading a client's object field by field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fkproxy.model.errors import InvalidRequest
from fkproxy.wire.fields import Fields

VALUE = {"text": "t", "number": 1.5, "whole": 3, "flag": True, "list": ["a"], "object": {"inner": 1}, "nothing": None, "objects": [{}, 7]}


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda fields: fields.text("text"), "t"),
        (lambda fields: fields.text("missing"), None),
        (lambda fields: fields.text("nothing"), None),
        (lambda fields: fields.needed_text("text"), "t"),
        (lambda fields: fields.number("number"), 1.5),
        (lambda fields: fields.integer("whole", 1, 5), 3),
        (lambda fields: fields.boolean("flag"), True),
        (lambda fields: fields.texts("text"), ("t",)),
        (lambda fields: fields.texts("list"), ("a",)),
        (lambda fields: fields.texts("missing"), ()),
        (lambda fields: fields.choice("text", ("t", "u")), "t"),
        (lambda fields: fields.mapping("object"), {"inner": 1}),
        (lambda fields: fields.array("list"), ["a"]),
        (lambda fields: fields.any("missing", "text"), "t"),
        (lambda fields: fields.within("object").integer("inner"), 1),
        (lambda fields: "nothing" in fields, False),
    ],
)
def test_what_is_there_is_given(read: Callable[[Fields], Any], expected: Any) -> None:
    assert read(Fields(VALUE)) == expected


@pytest.mark.parametrize(
    ("read", "path", "words"),
    [
        (lambda fields: fields.text("number"), "outer.number", "expected a string, got a number"),
        (lambda fields: fields.needed_text("missing"), "outer.missing", "it is missing"),
        (lambda fields: fields.number("flag"), "outer.flag", "expected a number, got a boolean"),
        (lambda fields: fields.number("number", 2), "outer.number", "must be at least 2"),
        (lambda fields: fields.number("number", None, 1), "outer.number", "must be at most 1"),
        (lambda fields: fields.number("number", 2, 3), "outer.number", "must be between 2 and 3"),
        (lambda fields: fields.integer("number"), "outer.number", "expected an integer"),
        (lambda fields: fields.boolean("text"), "outer.text", "expected true or false"),
        (lambda fields: fields.array("object"), "outer.object", "expected an array, got an object"),
        (lambda fields: fields.mapping("list"), "outer.list", "expected an object, got an array"),
        (lambda fields: fields.texts("objects"), "outer.objects", "an array of strings"),
        (lambda fields: fields.choice("text", ("x",)), "outer.text", "expected one of x"),
        (lambda fields: fields.within("list"), "outer.list", "expected an object"),
        (lambda fields: list(fields.each("objects")), "outer.objects[1]", "expected an object, got a number"),
    ],
)
def test_what_is_wrong_is_named_as_the_client_wrote_it(read: Callable[[Fields], Any], path: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(Fields(VALUE, "outer"))
    assert caught.value.param == path
    assert words in str(caught.value)


def test_the_rest_is_what_was_not_taken() -> None:
    fields = Fields({"a": 1, "b": 2, "c": None, "$note": 3})
    fields.any("a")
    assert fields.rest() == {"b": 2, "c": None}
    fields.any("b", "c")
    assert fields.rest() == {}


def test_who_knows_many_fields_looks_at_those_that_are_there() -> None:
    fields = Fields(VALUE)
    assert fields.given({"missing": 1, "nothing": 2, "text": 3}) == ["text", "nothing"]
    assert fields.none_of(frozenset(("missing", "other")))
    assert not fields.none_of(frozenset(("missing", "nothing")))
    assert fields.rest().keys() == VALUE.keys(), "to look is not to take"


@pytest.mark.parametrize("value", [None, 1, "x", []])
def test_only_an_object_has_fields(value: Any) -> None:
    with pytest.raises(InvalidRequest):
        Fields(value, "here")
