"""The services `dns`, in a site and on the Internet, and `turn` with several users."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_all
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads
from tests.network.test_nat_node import run

pytestmark = pytest.mark.network(timeout=60)

TEXT = """
internet:
  ns: {address: 198.51.100.53, runs: [dns]}
  files: [198.51.100.10, 198.51.100.11]
  relay: {address: 198.51.100.12, runs: [{turn: {user: ["alice:secret", "bob:hidden"],
                                                 user-allocations: 1}}]}
sites:
  a:
    gateway: {kind: napt, public: [24.9.3.7, 24.9.3.8], private: 10.0.0.1/24}
    hosts: {alice: 10.0.0.7, bob: 10.0.0.8, inner: {address: 10.0.0.53, runs: [dns]}}
expect:
  - alice reaches ns:53 by udp
  - alice reaches ns:53 as 24.9.3.7
  - alice reaches inner:53 by udp
  - ns cannot reach inner:53 by udp because no-route at internet
  - bob cannot reach ns:54 by udp because refused
"""
ASK = """
import socket, sys
server, name, kind = sys.argv[1:]
label = name.encode()
question = b"\\0\\7\\1\\0\\0\\1" + bytes(6) + bytes([len(label)]) + label + b"\\0\\0\\1\\0\\1"
if kind == "tcp":
    link = socket.create_connection((server, 53), 5)
    link.sendall(len(question).to_bytes(2, "big") + question)
    stream = link.makefile("rb")
    reply = stream.read(int.from_bytes(stream.read(2), "big"))
else:
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.settimeout(5)
    link.connect((server, 53))
    link.send(question)
    reply = link.recv(512)
found = []
rest = reply[len(question):]
while rest:  # name as a pointer, type, class, TTL, length, address
    found.append(".".join(map(str, rest[12:16])))
    rest = rest[16:]
print(reply[3] & 15, *found)
"""


def ask(net, node, server, name, kind="udp"):
    """The code of the response, and the addresses."""
    done = net[node].run(["python3", "-c", ASK, server, name, kind])
    assert done.status == 0, done.stderr
    code, *addresses = done.stdout.split()
    return int(code), sorted(addresses)  # they come in any order


def test_names_and_users():
    with Network(loads(TEXT.encode(), Path("names.yaml"))) as net, Wire(net) as wire:
        outcomes = run_all(net, wire)
        assert [(o.expectation.text, o.evidence) for o in outcomes if o.verdict != "passed"] == []

        both = ["198.51.100.10", "198.51.100.11"]
        public, inside = "198.51.100.53", "10.0.0.53"
        since = net.log.mark()
        for kind in ("udp", "tcp"):
            assert ask(net, "alice", public, "files", kind) == (0, both)
        assert ask(net, "alice", inside, "files") == (0, both)
        assert ask(net, "files", public, "napt_a") == (0, ["24.9.3.7", "24.9.3.8"])
        assert ask(net, "alice", inside, "napt_a") == (0, ["10.0.0.1"])
        assert ask(net, "alice", inside, "bob") == (0, ["10.0.0.8"])
        assert ask(net, "alice", public, "bob") == (3, [])  # a private address means nothing there

        def is_of_ns(event):
            return (event.node, event.name) == ("ns", "asked")

        net.log.wait_for(
            lambda event: is_of_ns(event) and event.fields["name"] == "bob",
            deadline=5,
            what="the last question, from ns",
            since=since,
        )
        asked = {"files", "napt_a", "bob"}  # a probe's random bytes may look like a question, too
        events = [event.fields for event in net.log.since(since) if is_of_ns(event)]
        told = [fields for fields in events if fields["name"] in asked]
        assert [fields["name"] for fields in told] == ["files", "files", "napt_a", "bob"]
        assert [sorted(fields["answer"]) for fields in told[:2]] == [both, both]
        assert {fields["kind"] for fields in told} == {"A"}

        # Each user has a password and an allowance of its own.
        where = "--server 198.51.100.12:3478 --permit 24.9.3.7"
        client = f"turn-client {where} --wait 20 --receive got --user"
        holders = {}
        for user in ("alice:secret", "bob:hidden"):
            name = user.partition(":")[0]
            holders[name] = net[name].start_program([*client.split(), user], name=f"turn-{name}")
            holders[name].wait_for("allocated", deadline=10)
        for user, why in (
            ("alice:secret", "486"),  # the quota of a user, who is on another host now
            ("bob:hidden", "486"),
            ("alice:hidden", "401"),
            ("carol:secret", "401"),
        ):
            refused = run(net["files"], f"{client} {user}")
            assert refused.status != 0
            assert why in refused.stdout + refused.stderr
        for holder in holders.values():
            holder.kill()
            holder.await_end()
