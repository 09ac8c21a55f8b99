"""Other vendors' seals in fields of another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.dialects.envelope import close_envelope, open_envelope
from fkproxy.model.parts import Seal

NAME = "openai_responses"


@given(st.sampled_from(["gemini", "anthropic", NAME]), st.text())
def test_a_seal_comes_back_as_it_went(dialect: str, data: str) -> None:
    if not (dialect == NAME and data.startswith("fkproxy1.")):
        assert open_envelope(close_envelope(Seal(dialect=dialect, data=data), NAME), NAME) == Seal(dialect=dialect, data=data)


def test_its_own_travels_bare() -> None:
    assert close_envelope(Seal(dialect=NAME, data="gAAAA"), NAME) == "gAAAA"


@pytest.mark.parametrize("text", ["fkproxy1.", "fkproxy1.%%%", "fkproxy1.e30=", "fkproxy1.é"])
def test_what_is_no_envelope_is_taken_for_the_dialects_own(text: str) -> None:
    assert open_envelope(text, NAME) == Seal(dialect=NAME, data=text)
