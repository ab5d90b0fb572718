"""All that one TURN server holds: the tables, and how their entries begin and end.

Theory of operation. The handlers of requests read and change this state, and it records what
must be done outside as *actions*. It knows neither handlers nor sockets, and reads no clock.

No table grows for a client that has not authenticated, except the strangers' TCP connections:
their number and their time are bounded, and addresses share the places fairly.
"""

from __future__ import annotations

import random
from dataclasses import asdict
from typing import Any

from napt_lab.servers.shared.events import endpoint
from napt_lab.servers.shared.shares import Shares
from napt_lab.servers.stun.attributes import Address, FiveTuple, Transport
from napt_lab.servers.turn import actions
from napt_lab.servers.turn.allocation import (
    Allocation,
    PeerConnection,
    Permission,
    Relay,
    RelayPorts,
    State,
)
from napt_lab.servers.turn.error_response import Refused
from napt_lab.servers.turn.expirations import Expirations
from napt_lab.servers.turn.framing import CHANNELS
from napt_lab.servers.turn.policy import PeerPolicy
from napt_lab.servers.turn.quota import Accounts, Limits
from napt_lab.servers.turn.request import Request
from napt_lab.servers.turn.reservation import Reservations

MAX_STRANGERS = 1024  # TCP connections without an allocation
MAX_STRANGERS_PER_CLIENT = 64
STRANGER_TIME = 30.0  # seconds a TCP connection may be without an allocation


class TurnState:
    """The tables of one TURN server, and the actions that wait to be taken."""

    def __init__(
        self,
        policy: PeerPolicy,
        ports: RelayPorts,
        relay_ports: range,
        limits: Limits,
        rng: random.Random,
        channels: range = CHANNELS,
    ) -> None:
        """Begin without allocations.

        `relay_ports`: port numbers for relayed transport addresses; `channels`: numbers that
        clients may bind.
        """
        self.policy = policy
        self.relay_ports = relay_ports
        self.random = rng
        self.channels = channels
        self.users = Accounts(limits.user)
        self.clients = Accounts(limits.client)
        self.allocations: dict[FiveTuple, Allocation] = {}
        self.relayed: dict[tuple[Transport, Address], Allocation] = {}
        self.connections: dict[int, PeerConnection] = {}
        self.streams: set[FiveTuple] = set()
        self.strangers: Shares[FiveTuple] = Shares(MAX_STRANGERS)
        self.expirations: Expirations[Any] = Expirations()
        self.reservations = Reservations(rng, self.expirations, limits)
        self._ports = ports
        self.actions: list[actions.Action] = []

    def do(self, action: actions.Action) -> None:
        """Have this done outside, after all that was asked for before."""
        self.actions.append(action)

    def take_actions(self) -> list[actions.Action]:
        """What is to be done now, in this order."""
        taken, self.actions = self.actions, []
        return taken

    def emit(self, event: str, allocation: Allocation, **fields: Any) -> None:
        """Log what became of an allocation."""
        about = {
            "client": endpoint(allocation.five_tuple.client),
            "relayed": endpoint(allocation.relay.address),
            "user": allocation.username,
        }
        self.do(actions.Event(event, {**about, **fields}))

    def refuse(self, client: Address, reason: str, **fields: Any) -> None:
        """Log that a client did not get what it wanted, and why."""
        self.do(actions.Event("refused", {"client": endpoint(client), "reason": reason, **fields}))

    # Allocations.

    def allocation_of(self, request: Request) -> Allocation:
        """The 5-tuple's allocation, which must exist (437) and be the same user's (441)."""
        found = self.allocations.get(request.five_tuple)
        if found is None:
            raise Refused(437, "the 5-tuple has no allocation")
        if found.username != request.username:
            raise Refused(441, f"the allocation belongs to {found.username}")
        return found

    def open_relay(self, transport: Transport, port: int) -> Relay | None:
        """A relayed transport address with this port, or None if it cannot be opened."""
        if (transport, (self._ports.address, port)) in self.relayed:
            return None
        return self._ports.open(transport, port)

    def begin(self, allocation: Allocation, lifetime: int, now: float) -> None:
        """Put a new allocation in force."""
        five_tuple = allocation.five_tuple
        budgets = (
            self.users.open(allocation.username, now),
            self.clients.open(five_tuple.client[0], now),
        )
        allocation.budgets = tuple(budget for budget in budgets if budget is not None)
        self.allocations[five_tuple] = allocation
        self.relayed[allocation.transport, allocation.relay.address] = allocation
        self.no_stranger(five_tuple)
        self.expirations.set(allocation, now + lifetime)
        self.do(actions.Serve(allocation))
        self.emit(
            "allocated",
            allocation,
            lifetime=lifetime,
            transport=allocation.transport.name.lower(),
            client_transport=five_tuple.transport.name.lower(),
        )

    def end(self, allocation: Allocation, reason: str, now: float) -> None:
        """Take an allocation out of force, and all that hangs on it."""
        five_tuple = allocation.five_tuple
        # Release the quota first, so that an exception cannot leak it.
        del self.allocations[five_tuple]
        self.users.close(allocation.username)
        self.clients.close(five_tuple.client[0])
        self.expirations.discard(allocation)
        allocation.relay.close()
        self.do(actions.Withdraw(allocation))
        del self.relayed[allocation.transport, allocation.relay.address]
        for address in allocation.permissions:
            self.expirations.discard(Permission(allocation, address))
        for channel in {*allocation.channels.values(), *allocation.channels_here}:
            self.expirations.discard(channel)
            channel.unbind()
        allocation.ended = reason
        for connection in list(allocation.connections.values()):
            self.do(actions.CloseConnection(connection))
            # An active one still reports how many bytes it passed.
            if connection.state != State.ACTIVE:
                self.forget(connection)
        if five_tuple in self.streams:
            self.stranger(five_tuple, now)
        self._report_end(allocation)

    def may_reach(self, peer: Address, transport: Transport) -> bool:
        """Whether this peer is elsewhere, or an allocation on our own relay address."""
        return not self.policy.needs_allocation(peer[0]) or (transport, peer) in self.relayed

    def allocation_at(self, peer: Address) -> Allocation | None:
        """The allocation without which this peer may not be sent datagrams, if there is one."""
        if not self.policy.needs_allocation(peer[0]):
            return None
        return self.relayed.get((Transport.UDP, peer))

    # Connections to peers.

    def forget(self, connection: PeerConnection) -> None:
        """Drop a connection from the tables, if it is in them."""
        allocation = connection.allocation
        if self.connections.pop(connection.id, None) is None:
            return
        del allocation.connections[connection.id]
        allocation.waiting.release(connection)
        self.expirations.discard(connection)
        if allocation.ended:
            self._report_end(allocation)

    def _report_end(self, allocation: Allocation) -> None:
        if not allocation.connections:
            self.emit("ended", allocation, reason=allocation.ended, **asdict(allocation.traffic))

    # TCP connections from clients.

    def stranger(self, five_tuple: FiveTuple, now: float) -> None:
        """Give a TCP connection without an allocation a place, for a bounded time."""
        client = five_tuple.client[0]
        idle = self.strangers.who_gives_way(client, MAX_STRANGERS_PER_CLIENT)
        if idle is not None:
            self.no_stranger(idle)
            self.do(actions.CloseStream(idle))
            self.refuse(idle.client, "too many TCP connections without an allocation")
        self.strangers.take(client, five_tuple)
        self.expirations.set(five_tuple, now + STRANGER_TIME)

    def no_stranger(self, five_tuple: FiveTuple) -> None:
        """The TCP connection is gone, or serves an allocation: it needs no stranger's place."""
        self.strangers.release(five_tuple)
        self.expirations.discard(five_tuple)
