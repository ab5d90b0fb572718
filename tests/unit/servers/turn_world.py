"""A TURN server and its clients with no network and no clock: two state machines, joined."""

from __future__ import annotations

import random
from ipaddress import IPv4Network
from typing import cast

from napt_lab.servers.stun.attributes import FiveTuple, Transport, decode_xor_address
from napt_lab.servers.stun.stun_message import Attribute
from napt_lab.servers.turn import actions
from napt_lab.servers.turn.client.turn_client import Data, Finished, Login, TurnClient
from napt_lab.servers.turn.credentials import Credentials
from napt_lab.servers.turn.framing import CHANNELS
from napt_lab.servers.turn.policy import PeerPolicy
from napt_lab.servers.turn.quota import Limits, Quota
from napt_lab.servers.turn.turn_server import TurnServer

SERVER = ("203.0.113.10", 3478)
RELAY = "203.0.113.10"
CLIENT = ("24.9.3.7", 40001)
PEER = ("198.51.100.7", 5000)
UDP, TCP = Transport.UDP, Transport.TCP


class FakeRelay:
    def __init__(self, ports, transport, port):
        self.address = (RELAY, port)
        self.allocation = None
        self._ports = ports
        self._key = transport, port

    def close(self):
        del self._ports.open_relays[self._key]


class FakePorts:
    """Relayed transport addresses as a table; ports in `refused` cannot be opened.

    As the kernel does with SO_REUSEPORT, it opens a TCP port as often as it is asked to.
    """

    address = RELAY

    def __init__(self):
        self.open_relays = {}
        self.refused = set()

    def open(self, transport, port):
        taken = transport == UDP and (transport, port) in self.open_relays
        if port in self.refused or taken:
            return None
        relay = self.open_relays[transport, port] = FakeRelay(self, transport, port)
        return relay


class World:
    """One server, any number of clients, and a clock that only `advance()` moves."""

    def __init__(
        self,
        *,
        user=8,
        client=8,
        bandwidth=0,
        allow=(),
        ports=range(50000, 50100),
        realm="napt.lab",
        users=(("alice", "secret"), ("bob", "hunter2")),
        channels=CHANNELS,
    ):
        self.now = 1000.0
        self.ports = FakePorts()
        rng = random.Random(7)
        self.server = TurnServer(
            Credentials(realm, dict(users), rng.randbytes),
            PeerPolicy(
                RELAY,
                lambda address: str(address) in (RELAY, "203.0.113.11"),
                map(IPv4Network, allow),
            ),
            self.ports,
            ports,
            Limits(user=Quota(user, bandwidth), client=Quota(client)),
            rng,
            channels,
        )
        self.state = self.server.state
        self.clients = {}
        self.events = []
        self.at_peers = []
        """What peers received: from which relayed address, which peer, and the data."""
        self.done = []
        """Other actions, in order."""

    def client(self, address=CLIENT, over=UDP, user="alice", password="secret"):
        return Client(self, FiveTuple(over, address, SERVER), Login(user, password))

    def run(self):
        """Carry messages until there are no more."""
        busy = True
        while busy:
            busy = False
            for client in list(self.clients.values()):
                for packet in client.turn.take_output():
                    self.server.receive(client.five_tuple, packet, self.now)
                    busy = True
            busy |= self.perform()

    def perform(self):
        taken = self.state.take_actions()
        for action in taken:
            match action:
                case actions.SendToClient(five_tuple, data):
                    if five_tuple in self.clients:
                        self.clients[five_tuple].received(data)
                case actions.SendToPeer(allocation, peer, data):
                    self.at_peers.append((allocation.relay.address, peer, data))
                case actions.Serve(allocation):
                    relay = cast("FakeRelay", allocation.relay)
                    relay.allocation = allocation
                case actions.Withdraw():
                    pass
                case actions.Event(name, fields):
                    self.events.append((name, fields))
                case _:
                    self.done.append(action)
        return bool(taken)

    def advance(self, seconds, *, clients=True):
        """Let time pass, stopping at every deadline; without `clients` they are silent."""
        until = self.now + seconds
        while True:
            deadlines = [self.server.next_deadline()]
            if clients:
                deadlines += [each.turn.next_deadline() for each in self.clients.values()]
            due = [when for when in deadlines if when is not None and when <= until]
            if not due:
                break
            self.now = max(self.now, min(due))
            self.server.expire(self.now)
            if clients:
                for each in self.clients.values():
                    each.turn.expire(self.now)
            self.run()
        self.now = until

    def from_peer(self, relayed, data, peer=PEER):
        """A datagram arrives at a relayed transport address."""
        relay = self.ports.open_relays.get((UDP, relayed[1]))
        if relay is not None and relay.allocation is not None:
            self.server.receive_from_peer(relay.allocation, peer, data, self.now)
        self.run()

    def events_of(self, name):
        return [fields for event, fields in self.events if event == name]

    def holds_nothing(self):
        """Whether the server has forgotten everything, timers and sockets included."""
        state = self.state
        tables = (
            state.allocations,
            state.users._accounts,
            state.clients._accounts,
            state.relayed,
            state.connections,
            state.reservations,
            state.streams,
            state.strangers,
            state.expirations,
            self.ports.open_relays,
        )
        return not any(len(table) for table in tables)


class Client:
    """A client host: its TURN client, and what it was told."""

    def __init__(self, world, five_tuple, login):
        self.world = world
        self.five_tuple = five_tuple
        # Seeded by the 5-tuple, so that no two clients choose the same transaction IDs.
        randbytes = random.Random(repr(five_tuple)).randbytes
        self.turn = TurnClient(login, five_tuple.transport, randbytes)
        self.raw = []
        """Every message the server sent, as bytes."""
        self.events = []
        world.clients[five_tuple] = self
        if five_tuple.transport == TCP:
            world.server.stream_opened(five_tuple, world.now)

    def received(self, data):
        self.raw.append(data)
        self.turn.receive(data, self.world.now)
        self.events += self.turn.take_events()

    def ask(self, method, *attributes):
        """Send a request; the error code (0: success) and the response."""
        return self.outcome(self.turn.request(method, list(attributes), self.world.now))

    def outcome(self, handle):
        self.world.run()
        for event in self.events:
            if isinstance(event, Finished) and event.handle == handle:
                return event.error, event.response
        return None, None

    def allocate(self, relayed=UDP, *attributes):
        """The relayed transport address, or the error code."""
        error, response = self.outcome(
            self.turn.allocate(relayed, self.world.now, list(attributes))
        )
        if error != 0:
            return error
        return decode_xor_address(
            response.get(Attribute.XOR_RELAYED_ADDRESS), response.transaction_id
        )

    def permit(self, address=PEER[0]):
        return self.outcome(self.turn.permit(address, self.world.now))[0]

    def bind(self, peer=PEER):
        return self.outcome(self.turn.bind_channel(peer, self.world.now))[0]

    def send(self, data, peer=PEER):
        self.turn.send(peer, data)
        self.world.run()

    def data(self):
        return [event.data for event in self.events if isinstance(event, Data)]
