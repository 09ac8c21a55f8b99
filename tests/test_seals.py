"""Provider state for clients that drop it."""

from __future__ import annotations

from fkproxy.model.parts import Message, Seal, Text, ToolCall
from fkproxy.model.request import ChatRequest
from fkproxy.seals import SealStore

SEAL = Seal(dialect="d", data="signature")


def request(*calls: ToolCall) -> ChatRequest:
    messages = (Message(role="user", parts=(Text(text="x"),)), Message(role="assistant", parts=calls))
    return ChatRequest(dialect="d", model="m", messages=messages)


def test_a_tool_call_without_its_seal_gets_it_back() -> None:
    store = SealStore()
    store.remember("caller", "call_1", SEAL, 0.0)
    restored = store.restore("caller", request(ToolCall(id="call_1", name="f"), ToolCall(id="call_2", name="f")), 1.0)
    first, second = restored.messages[1].parts
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.seal == SEAL
    assert second.seal is None


def test_a_seal_the_client_kept_is_left_alone() -> None:
    store = SealStore()
    store.remember("caller", "call_1", SEAL, 0.0)
    own = Seal(dialect="d", data="newer")
    asked = request(ToolCall(id="call_1", name="f", seal=own))
    assert store.restore("caller", asked, 1.0) is asked


def test_nobody_gets_the_seal_of_another_caller() -> None:
    store = SealStore()
    store.remember("caller", "call_1", SEAL, 0.0)
    assert store.recall("other", "call_1", 1.0) is None
    assert store.recall(None, "call_1", 1.0) is None
    assert store.recall("caller", "call_1", 1.0) == SEAL


def test_seals_end_after_their_time() -> None:
    store = SealStore(ttl_s=10.0)
    store.remember("caller", "call_1", SEAL, 0.0)
    assert store.recall("caller", "call_1", 9.9) == SEAL
    assert store.recall("caller", "call_1", 10.0) is None
    store.remember("caller", "call_2", SEAL, 11.0)
    assert len(store) == 1


def test_the_oldest_go_when_the_room_is_used_up() -> None:
    store = SealStore(max_bytes=10_000)
    for number in range(1000):
        store.remember("caller", f"call_{number}", SEAL, float(number))
    assert 0 < len(store) < 40
    assert store.recall("caller", "call_999", 1000.0) == SEAL
    assert store.recall("caller", "call_0", 1000.0) is None


def test_a_seal_larger_than_the_room_leaves_nothing_behind() -> None:
    store = SealStore(max_bytes=1000)
    store.remember("caller", "call_1", Seal(dialect="d", data="x" * 5000), 0.0)
    assert len(store) == 0
    store.remember("caller", "call_2", SEAL, 0.0)
    assert len(store) == 1


def test_the_same_call_twice_counts_once() -> None:
    store = SealStore()
    for _ in range(5):
        store.remember("caller", "call_1", SEAL, 0.0)
    assert len(store) == 1
