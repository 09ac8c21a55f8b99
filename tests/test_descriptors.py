"""Enough for the client's and the upstream's end of every stream, and for the rest."""

from __future__ import annotations

import os
import resource

from fkproxy import descriptors


def test_the_unit_allows_as_many_as_any_setting_needs() -> None:
    assert 2 * 4000 < descriptors.needed(4000) <= 65_536


def test_what_counts_is_what_the_process_may_raise_its_limit_to() -> None:
    assert descriptors.allowed() == descriptors.allowed(os.getpid()) == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
