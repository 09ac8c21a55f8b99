"""Who asks, and what for."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Request
from litestar.exceptions import ValidationException

from fkproxy.web.admin.caller import based_on


def with_if_match(value: bytes) -> Request[Any, Any, Any]:
    return Request({"type": "http", "headers": [(b"if-match", value)]})  # type: ignore[typeddict-item]  # as much of one as is looked at


@pytest.mark.parametrize(("given", "revision"), [(b"*", None), (b"7", 7), (b'"7"', 7), (b'W/"7"', 7)])
def test_a_revision_is_a_number_or_an_entity_tag(given: bytes, revision: int | None) -> None:
    assert based_on(with_if_match(given)) == revision


@pytest.mark.parametrize("given", [b"", b'"x"', b"-1", b'"\xb2"', b"9" * 5000])
def test_what_is_no_revision_is_the_mistake_of_whoever_asks(given: bytes) -> None:
    with pytest.raises(ValidationException):
        based_on(with_if_match(given))
