"""An ICE connection that uses a relay only where nothing else works.

aioice selects the first pair that works. RFC 8445 (section 8.1.1) leaves it to each program how
long to wait for a better one. Here the pairs with a relayed candidate are checked a second later
than the others.

The first check from one side often dies at the other's NAPT, which it has not opened yet. When the
other's own check arrives, the way is open, so ours is sent again at once (RFC 8445, section
7.3.1.4). aioice alone would wait for its retransmission, half a second.

If both NAPTs use a new port for each destination and filter nothing, every check comes from a new
port, and the check that it triggers does so again at the other side, without end. So each of our
sockets checks only a few endpoints that the other peer did not list. RFC 8445 (section 6.1.2.5)
asks for a limit; aioice has none.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aioice
from aioice.ice import CandidatePair, StunProtocol
from aioice.stun import Message

RELAY_SECONDS = 1.0  # for which the direct ways are tried alone
EITHER = "either"  # by UDP if the TURN server answers, or else by TCP
MOST_REFLEXIVE = 10  # pairs of one socket whose remote candidate only a check has told
GATHERING_SECONDS = 2  # for the answers of the STUN and TURN servers


class Connection(aioice.Connection):
    """aioice's, with the three rules above."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._relays_from = float("inf")
        self._repeated: set[CandidatePair] = set()

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: int = GATHERING_SECONDS
    ) -> list[aioice.Candidate]:
        """Ask STUN and TURN servers; where UDP is blocked, their answers do not come."""
        over, self.turn_transport = self.turn_transport, self.turn_transport.replace(EITHER, "udp")
        found = await super().get_component_candidates(component, addresses, timeout)
        if over == EITHER and self.turn_server and not any(each.type == "relay" for each in found):
            self.turn_transport = "tcp"
            found += await super().get_component_candidates(component, [], timeout)
        return found

    async def connect(self) -> None:
        """Try the pairs until one works. ConnectionError if none does."""
        self._relays_from = asyncio.get_running_loop().time() + RELAY_SECONDS
        await super().connect()

    def check_start_task(self, pair: CandidatePair) -> None:
        """Begin to check a pair, unless it has to wait; then aioice asks again after 20 ms."""
        relayed = "relay" in (pair.local_candidate.type, pair.remote_candidate.type)
        if not relayed or asyncio.get_running_loop().time() >= self._relays_from:
            super().check_start_task(pair)

    def check_incoming(
        self, message: Message, addr: tuple[str, int], protocol: StunProtocol
    ) -> None:
        """A check has arrived: if ours of the same pair is still unanswered, send it again.

        Only once: if both peers did so each time, each would drop the other's answer for ever.
        """
        if self._is_one_too_many(addr, protocol):
            return
        super().check_incoming(message, addr, protocol)
        for pair in set(self._check_list) - self._repeated:
            is_it = (pair.protocol, pair.remote_addr) == (protocol, addr)
            if is_it and pair.state is CandidatePair.State.IN_PROGRESS and pair.task is not None:
                self._repeated.add(pair)
                pair.task.cancel()
                pair.task = None
                self.check_state(pair, CandidatePair.State.WAITING)
                self.check_start_task(pair)

    def _is_one_too_many(self, addr: tuple[str, int], protocol: StunProtocol) -> bool:
        """Whether a check from this endpoint would make one pair more than the limit allows."""
        told = {(e.host, e.port) for e in self.remote_candidates if e.type != "prflx"}
        found = {
            pair.remote_addr
            for pair in self._check_list
            if pair.protocol is protocol and pair.remote_candidate.type == "prflx"
        }
        return addr not in told | found and len(found) >= MOST_REFLEXIVE

    def selected(self) -> CandidatePair:
        """The pair that carries the data, once connected."""
        return self._nominated[1]
