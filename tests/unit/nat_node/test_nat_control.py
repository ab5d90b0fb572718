"""The control socket: what is asked, answered and refused, and clients that misbehave."""

import json
import select
import socket
import stat
import time
from base64 import b64decode, b64encode
from dataclasses import replace

import pytest

from napt_lab.nat_node.control import report
from napt_lab.nat_node.control import server as control
from napt_lab.nat_node.control.server import CLIENTS, LINE, UNREAD, Control
from napt_lab.nat_node.core.behavior import parse_address, parse_endpoint
from napt_lab.nat_node.core.mapping import Mapping
from napt_lab.nat_node.core.packet import TCP, UDP
from napt_lab.nat_node.core.settings import Settings

DEADLINE = 10.0
DOES = "rules, ports, add, remove, flush, set, stats or events"
OWN = parse_address("24.9.3.7")


class Loop:
    """A control socket and as much of the node's loop as it needs."""

    def __init__(self, path):
        self.asked, self.watched = [], []
        self.path = path
        self.listener = control.bind(path)
        self.poll = select.epoll()
        self.control = Control(self.listener, self.poll, self, self.watched.append)
        self.size = 0
        self.clients = []

    def list_rules(self, limit):
        self.asked.append(("rules", limit))
        return 1, ["x" * self.size]

    def list_ports(self):
        return {"udp": "AAE="}

    def add_rule(self, protocol, external, internal):
        self.asked.append(("add", protocol, external, internal))
        self.control.broadcast({"event": "rule-added"})
        return {"id": 1}

    def remove_rule(self, protocol, external):
        self.asked.append(("remove", protocol, external))
        raise OSError("nft: no such element")

    def flush(self):
        self.asked.append(("flush",))
        return 3

    def change(self, changes):
        self.asked.append(("set", changes))

    def stats(self):
        self.asked.append(("stats",))
        return {"rules": 1}

    def turn(self):
        """Do what there is to do; returns whether there was something."""
        found = self.poll.poll(0.0)
        for descriptor, events in found:
            if self.control.handles(descriptor):
                self.control.handle(descriptor, events)
        return bool(found)

    def client(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.path))
        connection.setblocking(False)
        self.clients.append(connection)
        self.turn()
        return connection

    def say(self, client, data):
        """Send, let the loop turn, and return the lines that came back."""
        client.sendall(data)
        return self.hear(client)

    def hear(self, client):
        received, until = b"", time.monotonic() + DEADLINE
        while self.turn() or self.readable(client):
            assert time.monotonic() < until
            if self.readable(client):
                data = client.recv(1 << 20)
                if not data:
                    return [*map(json.loads, received.splitlines()), "closed"]
                received += data
        return [json.loads(line) for line in received.splitlines()]

    @staticmethod
    def readable(client):
        return bool(select.select([client], [], [], 0)[0])


@pytest.fixture
def loop(tmp_path):
    loop = Loop(tmp_path / "control.sock")
    yield loop
    for client in loop.clients:
        client.close()
    loop.listener.close()
    loop.poll.close()


def test_only_its_owner_reaches_the_socket(loop):
    assert stat.S_IMODE(loop.path.stat().st_mode) == 0o600


def test_a_socket_that_was_left_behind_is_replaced(tmp_path):
    path = tmp_path / "control.sock"
    left_behind = Loop(path)
    after = Loop(path)
    assert after.say(after.client(), b'{"do": "stats"}\n')[0]["ok"]
    for loop in (after, left_behind):
        loop.listener.close()


def test_an_answer_a_line(loop):
    client = loop.client()
    assert loop.say(client, b'{"do": "rules", "limit": 7}\n{"do": "flush"}\n{"do": "stats"}\n') == [
        {"ok": True, "total": 1, "rules": [""]},
        {"ok": True, "ended": 3},
        {"ok": True, "rules": 1},
    ]
    assert loop.asked == [("rules", 7), ("flush",), ("stats",)]


def request(do="add", **given):
    fields = {"protocol": "tcp", "external": "24.9.3.7:8080", "internal": "10.0.0.7:80"} | given
    return json.dumps({"do": do, **fields}).encode() + b"\n"


def test_a_rule_is_added_and_removed(loop):
    client = loop.client()
    for external in ("24.9.3.7:8080", "8080"):  # a port alone: the NAPT has one address
        assert loop.say(client, request(external=external)) == [{"ok": True, "rule": {"id": 1}}]
    assert loop.say(client, request("remove", protocol="udp")) == [
        {"ok": False, "error": "nft: no such element"}
    ]
    host = parse_endpoint("10.0.0.7:80")
    own, any_of_ours = (OWN, 8080), (0, 8080)
    assert loop.asked == [
        ("add", 6, own, host), ("add", 6, any_of_ours, host), ("remove", 17, own),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            {"do": "dance"},
            f"cannot do 'dance': {DOES}",
        ),
        ({"do": None}, f"cannot do None: {DOES}"),
        ({"do": "set"}, "settings must be keys with texts"),
        ({"do": "set", "settings": {"idle.udp": 30}}, "settings must be keys with texts"),
        ({"do": "rules", "limit": -1}, "limit must be a number from 0 to 5000"),
        ({"do": "rules", "limit": 5001}, "limit must be a number from 0 to 5000"),
        ({"do": "rules", "limit": "9"}, "limit must be a number from 0 to 5000"),
        ({"protocol": None}, "protocol is missing"),
        ({"protocol": "icmp"}, "protocol 'icmp': tcp or udp"),
        ({"external": 8080}, "external is missing"),
        ({"external": "65536"}, "port '65536' is not a number from 1 to 65535"),
        ({"external": "24.9.3.7"}, "'24.9.3.7' is not an endpoint such as 10.0.0.7:8080"),
        ({"internal": "10.0.0.7:0"}, "port '0' is not a number from 1 to 65535"),
    ],
)
def test_what_cannot_be_done_is_said(loop, given, why):
    assert loop.say(loop.client(), request(**given)) == [{"ok": False, "error": why}]
    assert not loop.asked


def test_a_line_may_come_in_pieces(loop):
    client = loop.client()
    assert loop.say(client, b'{"do": ') == []
    assert loop.say(client, b'"stats"}') == []
    assert len(loop.say(client, b"\n")) == 1


@pytest.mark.parametrize(
    "line",
    [b"", b"rules", b"{", b"\xff\xfe", b"[" * 4000, b"[]", b'"rules"', b"1", b"null", b"\0" * 100],
)
def test_what_is_not_a_request_is_refused_and_the_next_one_answered(loop, line):
    client = loop.client()
    refused, answered = loop.say(client, line + b'\n{"do": "stats"}\n')
    assert refused["ok"] is False
    assert refused["error"].startswith("not a")
    assert answered["ok"] is True


def test_a_line_without_end_closes_the_connection(loop):
    client = loop.client()
    answer, end = loop.say(client, b"x" * (2 * LINE))
    assert answer == {"ok": False, "error": f"a line of more than {LINE} bytes"}
    assert end == "closed"


def test_events_reach_those_who_asked_for_them(loop):
    watcher, other = loop.client(), loop.client()
    assert loop.say(watcher, b'{"do": "events"}\n') == [{"ok": True}]
    assert loop.watched == [True]
    loop.control.broadcast({"event": "drop"})
    assert loop.hear(watcher) == [{"event": "drop"}]
    assert loop.hear(other) == []
    watcher.close()
    loop.turn()
    assert loop.watched == [True, False]
    loop.control.broadcast({"event": "drop"})


def test_a_watcher_that_does_not_read_is_told_what_it_lost_and_costs_bounded_memory(loop):
    client = loop.client()
    assert loop.say(client, b'{"do": "events"}\n') == [{"ok": True}]
    event = {"event": "drop", "text": "x" * 1000}
    sent = 0
    (held,) = loop.control._clients.values()
    while held.lost < 1000:
        loop.control.broadcast(event)
        sent += 1
        assert len(held.unread) <= UNREAD
        assert sent < 100_000
    received = loop.hear(client)
    loop.control.broadcast({"event": "last"})
    *_, gap, last = received + loop.hear(client)
    assert gap["event"] == "lost"
    assert last == {"event": "last"}
    assert len(received) + gap["count"] == sent


def test_a_client_that_asks_and_asks_and_never_reads_is_let_go(loop, monkeypatch):
    """4096 bytes hold nearly 300 questions: their answers must not all be kept."""
    monkeypatch.setattr(control, "UNREAD", 1 << 20)
    loop.size = 300_000
    client = loop.client()
    with pytest.raises(OSError):  # noqa: PT012
        for _ in range(100):
            client.send(b'{"do":"rules"}\n' * 273)
            loop.turn()
            assert sum(len(held.unread) for held in loop.control._clients.values()) < 2 << 20
    assert not loop.control._clients
    assert len(loop.asked) < 20


def test_a_large_answer_reaches_a_client_that_reads(loop):
    loop.size = 3 << 20
    (answer,) = loop.say(loop.client(), b'{"do": "rules"}\n')
    assert len(answer["rules"][0]) == loop.size


def test_clients_are_bounded_and_a_place_is_free_again(loop):
    clients = [loop.client() for _ in range(CLIENTS)]
    assert loop.hear(loop.client()) == ["closed"]
    clients.pop().close()
    loop.turn()
    assert loop.say(loop.client(), b'{"do": "stats"}\n')[0]["ok"]


def test_a_client_that_has_gone_before_its_answer(loop):
    loop.size = 1 << 20
    client = loop.client()
    client.sendall(b'{"do": "rules"}\n')
    client.close()
    while loop.turn():
        pass
    assert not loop.control._clients


def test_a_watcher_that_has_gone_in_the_middle_of_its_own_request(loop):
    client = loop.client()
    client.sendall(b'{"do": "events"}\n' + 2 * request())
    client.close()
    while loop.turn():
        pass
    assert [asked[0] for asked in loop.asked] == ["add"]
    assert not loop.control._clients
    assert loop.watched == [True, False]


def test_ports_in_use_are_a_bit_each():
    mappings = [
        Mapping(n, TCP, (1, 2), (5, port), (3, 4), 0.0, "", False)
        for n, port in enumerate((1, 9, 65535))
    ]
    mappings.append(Mapping(4, UDP, (1, 2), (5, 8), (3, 4), 0.0, "", False))
    one = Settings(5, 6, 7)
    maps = {name: b64decode(bits) for name, bits in report.port_map(mappings, one).items()}
    assert {name: len(bits) for name, bits in maps.items()} == {"tcp": 8192, "udp": 8192}
    used = [p for p in range(65536) if maps["tcp"][p // 8] >> p % 8 & 1]
    assert used == [1, 9, 65535]
    assert maps["udp"][1] == 1
    assert sum(maps["udp"]) == 1
    several = report.port_map(mappings, replace(one, others=(8,)))
    assert several == {f"{name} 0.0.0.5": b64encode(bits).decode() for name, bits in maps.items()}
