"""Whether a call with this key would be let in: for a proxy that asks before it passes something on. Floor 4.

Nothing is taken of any rate or budget. Who sends wrong keys waits longer and longer, as at the administrator's door, and with the right one
too, or it could be told from the wrong ones. Whole offices come from one address, so a key that was refused before is no further guess: a
client with an old one must not keep its neighbours out.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from fkproxy.access import Caller, KeyRing
from fkproxy.model.errors import NotAllowed, NotAuthenticated, RateLimited
from fkproxy.web.asgi import Inbound
from fkproxy.web.guesses import Guesses
from fkproxy.web.peers import subscriber

__all__ = ["Verifier"]

_MAX_REFUSED = 4096
_MAX_TOLD_BYTES = 64


class Verifier:
    """A guard of `Ops`. `count` hears each outcome: let_in, refused, slowed."""

    def __init__(
        self,
        keys: KeyRing,
        count: Callable[[str], None],
        *,
        now: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._count = count
        self._now_s = now_s
        self._guesses = Guesses(now=now)
        self._pepper = secrets.token_bytes(32)
        self._refused: OrderedDict[bytes, None] = OrderedDict()

    def __call__(self, inbound: Inbound) -> Caller:
        """Who asks. Raises `NotAuthenticated`, whatever the reason is: a proxy wants yes or no; and `RateLimited`."""
        source = _source(inbound)
        if self._keys.required:
            try:
                self._guesses.check(source)
            except RateLimited:
                self._count("slowed")
                raise
        presented = inbound.presented_key
        try:
            caller = self._keys.admit(presented, self._now_s())
        except (NotAuthenticated, NotAllowed) as error:
            self._count("refused")
            if isinstance(error, NotAllowed):
                raise NotAuthenticated(str(error)) from error
            if presented and self._is_news(presented):
                self._guesses.failed(source)
            raise
        self._count("let_in")
        self._guesses.succeeded(source)
        return caller

    def _is_news(self, presented: bytes) -> bool:
        """False for one of the last keys that were refused."""
        hashed = hashlib.blake2b(presented, key=self._pepper, digest_size=16).digest()
        known = hashed in self._refused
        self._refused[hashed] = None
        self._refused.move_to_end(hashed)
        if len(self._refused) > _MAX_REFUSED:
            self._refused.popitem(last=False)
        return not known


def _source(inbound: Inbound) -> str:
    """Who is slowed: the peer, as the one whom the proxy before us tells of. Any proxy is believed that much: otherwise one who guesses
    would keep out everybody who comes through it, and who makes addresses up gets no more guesses than at the calls' own door."""
    peer, told = inbound.peer or "unknown", _told(inbound)
    return f"{subscriber(peer)} {told}" if told else peer


def _told(inbound: Inbound) -> str:
    """The last address, which is the one that the nearest proxy has seen itself."""
    told = inbound.headers.get(b"x-forwarded-for", b"")[-_MAX_TOLD_BYTES:]
    return subscriber(told.rpartition(b",")[2].strip().decode("latin-1"))
