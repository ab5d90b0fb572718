"""One datagram in, one or none out (RFC 6887, section 8.2; RFC 6886, section 3).

Only inside hosts get answers, and only so many a second. Requests beyond that are dropped, as both
RFCs allow: a client without an answer asks again. A host's own requests count more than those of
others, so that a few hosts cannot use up the answers of all: one alone gets 10 answers in a second,
five together get 30 of 50. The answer is never longer than a valid request, whatever the bytes, so
no host can be flooded through this server.

When the server has started it says so to all on the inside (RFC 6887, section 14.1.3; RFC 6886,
section 3.2.1): ten times, first after 250 ms and then each time after twice as long. Clients that
have been granted something by an earlier one see the epoch go back to 0, and ask again.
"""

from __future__ import annotations

from collections import Counter

from napt_lab.nat_node.core.settings import LeaseLimits
from napt_lab.nat_node.core.translator import Translator
from napt_lab.nat_node.port_control import nat_pmp, pcp
from napt_lab.nat_node.port_control.leases import Leases, Wish
from napt_lab.nat_node.port_control.pcp import Opcode, Refused, Result

REQUESTS, AGAIN = 50, 5
"""Requests that are answered in one second; to a host each of its own counts so many times."""
ANNOUNCEMENTS = 10
FIRST_PAUSE = 0.25  # seconds


class PortControl:
    """The server for one translator. `now` is a time on the translator's clock, in seconds."""

    def __init__(self, translator: Translator, limits: LeaseLimits, now: float) -> None:
        self._translator = translator
        self._settings = translator.settings
        self._limits = limits
        self.leases = Leases(translator, limits)
        self._started = now
        self._second, self._answered = 0, Counter[int]()
        self._pauses = [0.0] + [FIRST_PAUSE * 2**n for n in range(ANNOUNCEMENTS - 1)]
        self._next_announcement = now

    def answer(self, data: bytes, source: int, now: float) -> bytes | None:
        """The answer to a datagram from an address; None where there is none."""
        if len(data) < 2 or data[1] & pcp.IS_RESPONSE:  # the bit is the same in both protocols
            return None
        if not self._settings.is_inside(source) or not self._has_time_for(source, now):
            return None
        if data[0] == nat_pmp.VERSION:
            return self._answer_nat_pmp(data, source, now)
        epoch = self.epoch(now)
        try:
            if data[0] != pcp.VERSION:
                raise Refused(Result.UNSUPP_VERSION)
            if len(data) < pcp.HEADER:
                return None
            if pcp.read_header(data, source) == Opcode.MAP:
                return self._map(data, source, now)
            pcp.read_announce(data)
            return pcp.announcement(epoch)
        except Refused as refused:
            return pcp.error(data, refused, epoch)

    def epoch(self, now: float) -> int:
        """Whole seconds since this server has known its leases (RFC 6887, section 8.5)."""
        return int(now - self._started)

    def expire(self, now: float) -> None:
        """End the leases whose time has passed."""
        self.leases.expire(now)

    def announcements(self, now: float) -> list[bytes]:
        """What everyone on the inside must be told now, in both protocols; mostly nothing."""
        if not self._pauses or now < self._next_announcement:
            return []
        self._pauses.pop(0)
        if self._pauses:
            self._next_announcement = now + self._pauses[0]
        epoch = self.epoch(now)
        if self._settings.others:
            return [pcp.announcement(epoch)]  # NAT-PMP would tell one address to all
        return [
            pcp.announcement(epoch),
            nat_pmp.external_address(self._settings.external, epoch),
        ]

    def next_deadline(self) -> float | None:
        """When `expire` or `announcements` has something to do; None while they have not."""
        lease = self.leases.next_deadline()
        if not self._pauses:
            return lease
        return self._next_announcement if lease is None else min(lease, self._next_announcement)

    def _has_time_for(self, host: int, now: float) -> bool:
        if int(now) != self._second:
            self._second = int(now)
            self._answered.clear()
        own = self._answered[host]
        others = self._answered.total() - own
        if others + AGAIN * own >= REQUESTS:
            return False
        self._answered[host] += 1
        return True

    # -- PCP ----------------------------------------------------------------------------------

    def _map(self, data: bytes, source: int, now: float) -> bytes:
        request = pcp.read_map(data, source)
        limits, address = self._limits, request.suggested_address
        # Another address than ours cannot be had, and no port of it.
        ours = address == 0 or address in self._settings.ours
        wish = Wish(
            "PCP",
            request.protocol,
            (source, request.internal_port),
            min(max(request.lifetime, limits.min_lifetime), limits.max_lifetime),
            request.nonce,
            (address, request.suggested_port) if address is not None and ours else (0, 0),
            request.prefer_failure,
            request.clear_filters,
            request.filters,
        )
        maps_ports = request.protocol in nat_pmp.PROTOCOLS.values() and request.internal_port
        if not request.lifetime:
            # There is never one for all ports or all protocols, nor for one without ports.
            remaining = self.leases.release(wish, now) if maps_ports else 0
            return pcp.deleted(request, remaining, self.epoch(now))
        if not maps_ports:
            raise Refused(Result.UNSUPP_PROTOCOL)
        grant = self.leases.grant(wish, now)
        return pcp.granted(request, grant.external, grant.lifetime, self.epoch(now))

    # -- NAT-PMP ------------------------------------------------------------------------------

    def _answer_nat_pmp(self, data: bytes, source: int, now: float) -> bytes | None:
        epoch = self.epoch(now)
        if len(data) > pcp.LONGEST:
            return None
        if data[1] == nat_pmp.ADDRESS:
            address = self._translator.table.ports.pooling.address_of(source)
            return nat_pmp.external_address(address, epoch)
        if data[1] not in nat_pmp.PROTOCOLS:
            return nat_pmp.unsupported(data)
        request = nat_pmp.read_map(data)
        if request is None:
            return None
        lifetime = min(request.lifetime, self._limits.max_lifetime)  # never more than asked for
        internal = (source, request.internal_port)
        wish = Wish(
            "NAT-PMP", request.protocol, internal, lifetime, suggested=(0, request.suggested_port)
        )
        try:
            if lifetime and not request.internal_port:
                raise Refused(Result.NOT_AUTHORIZED)
            if lifetime:
                grant = self.leases.grant(wish, now)
                port, lifetime = grant.external[1], min(grant.lifetime, lifetime)
                return nat_pmp.mapping(request, Result.SUCCESS, port, lifetime, epoch)
            if request.internal_port:
                self.leases.release(wish, now)
            else:
                self.leases.release_all(request.protocol, source, now)
            return nat_pmp.mapping(request, Result.SUCCESS, 0, 0, epoch)
        except Refused as refused:
            return nat_pmp.mapping(request, refused.result, 0, 0, epoch)
