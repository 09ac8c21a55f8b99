"""The order of events that is drawn at the top of `fkproxy/model/events.py`, as a check."""

from __future__ import annotations

from collections.abc import Iterable

from fkproxy.model.events import ChoiceFinished, Done, Event, Failed, Started, ToolCallDelta, ToolCallStarted, UsageReported

__all__ = ["check_order"]


def check_order(events: Iterable[Event]) -> None:
    """Raise `ValueError` naming the first event that breaks that order."""
    state = "new"
    finished: set[int] = set()
    calls: dict[int, int] = {}
    position = -1
    for position, event in enumerate(events):
        where = f"event {position} ({type(event).__name__})"
        if state == "ended":
            raise ValueError(f"{where} after the end")
        if isinstance(event, Failed):
            state = "ended"
        elif isinstance(event, Started):
            if state != "new":
                raise ValueError(f"{where}: a reply starts once")
            state = "open"
        elif state == "new":
            raise ValueError(f"{where} before Started")
        elif isinstance(event, Done):
            if not finished:
                raise ValueError(f"{where} before any ChoiceFinished")
            state = "ended"
        elif isinstance(event, ChoiceFinished):
            if event.choice in finished:
                raise ValueError(f"{where}: choice {event.choice} finished twice")
            finished.add(event.choice)
        elif not isinstance(event, UsageReported):
            if event.choice in finished:
                raise ValueError(f"{where} after choice {event.choice} finished")
            if isinstance(event, ToolCallStarted):
                if event.index != calls.get(event.choice, 0):
                    raise ValueError(f"{where}: tool call indices count up from 0")
                calls[event.choice] = event.index + 1
            elif isinstance(event, ToolCallDelta) and event.index >= calls.get(event.choice, 0):
                raise ValueError(f"{where}: arguments for a tool call that has not started")
    if state != "ended":
        raise ValueError(f"the events end after {position + 1} without Done or Failed")
