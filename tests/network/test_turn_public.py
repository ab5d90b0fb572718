"""The TURN server with its own defaults: public addresses, three hosts, nothing allowed.

client 24.9.3.7 ------ server 203.0.113.10 ------ peer 198.51.100.7, 10.0.0.7
"""

import subprocess
import sys

import pytest

from tests.network.turn_programs import (
    DEADLINE,
    PASSWORD,
    USER,
    coturn_client,
    coturn_clients,
    need,
)
from tests.server_program import Program
from tests.waiting import wait_until

pytestmark = pytest.mark.network
SERVER, CLIENT, PEER, PRIVATE_PEER = "203.0.113.10", "24.9.3.7", "198.51.100.7", "10.0.0.7"

NETWORK = f"""
ip netns add client
ip netns add peer
ip link add to-client type veth peer name eth0 netns client
ip link add to-peer type veth peer name eth0 netns peer
ip address add {SERVER}/32 dev lo
ip link set to-client up
ip link set to-peer up
ip route add {CLIENT} dev to-client src {SERVER}
ip route add {PEER} dev to-peer src {SERVER}
ip route add {PRIVATE_PEER} dev to-peer src {SERVER}
ip -n client address add {CLIENT}/32 dev eth0
ip -n client link set eth0 up
ip -n client route add default dev eth0
ip -n peer address add {PEER}/32 dev eth0
ip -n peer address add {PRIVATE_PEER}/32 dev eth0
ip -n peer link set lo up
ip -n peer link set eth0 up
ip -n peer route add default dev eth0 src {PEER}
"""


@pytest.fixture
def server():
    subprocess.run(["sh", "-ec", NETWORK], check=True)
    with Program(
        "napt_lab.servers.turn", "--realm", "napt.lab", "--user", f"{USER}:{PASSWORD}",
        "--relay-address", SERVER, "--channels", "rfc5766",
    ) as program:  # fmt: skip
        yield program


def inside(host, *command):
    return ["ip", "netns", "exec", host, *command]


@pytest.fixture
def peer(server):
    need("turnutils_peer")
    echo = subprocess.Popen(
        inside("peer", "turnutils_peer", "-L", PEER, "-L", PRIVATE_PEER, "-p", "3480"),
        stdout=subprocess.DEVNULL,
    )
    await_line(inside("peer", "ss", "-Huln", "sport = 3480"), PEER)
    yield echo
    echo.terminate()
    echo.wait(10)


def await_line(command, wanted):
    """Run a command until its output has what is wanted."""

    def said():
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    wait_until(lambda: wanted in said(), lambda: f"{wanted} from {command}: {said()}", DEADLINE)


def test_a_public_peer_is_reached_and_a_private_one_is_not(server, peer):
    client = {"server": SERVER, "prefix": inside("client")}
    ways = (("-c",), ("-c", "-t"), ("-c", "-s"))
    for sent, received, output in coturn_clients(*((*way, "-e", PEER) for way in ways), **client):
        assert sent == received > 0, output
    assert server.event("allocated")["client"].startswith(CLIENT)
    private = ((*way, "-e", PRIVATE_PEER) for way in ways)
    for sent, _, output in coturn_clients(*private, **client):
        assert "error 403 (Forbidden)" in output
        assert sent == 0


def test_the_servers_own_ports_are_not_reached_unless_allocated(server):
    client = {"server": SERVER, "prefix": inside("client")}
    sent, _, output = coturn_client("-c", "-e", SERVER, "-r", "3478", **client)
    assert "error 403 (Forbidden)" in output
    assert sent == 0


def test_but_two_clients_of_the_server_meet(server):
    sent, received, output = coturn_client("-y", server=SERVER, prefix=inside("client"))
    assert sent == received > 0, output


RECEIVE = [
    sys.executable, "-m", "napt_lab.servers.turn.client", "--server", f"{SERVER}:3478",
    "--user", f"{USER}:{PASSWORD}", "--permit", PEER, "--receive",
]  # fmt: skip


def test_a_connection_without_a_permission_is_refused_and_told(server, tmp_path):
    client = subprocess.Popen(
        inside("client", *RECEIVE, tmp_path / "file"), stdout=subprocess.DEVNULL
    )
    relayed = server.event("allocated")["relayed"].split(":")
    server.event("permission", peer=PEER)
    stranger = inside("peer", "nc", "-N", "-s", PRIVATE_PEER, *relayed)
    subprocess.run(stranger, input=b"let me in", timeout=10, check=False, capture_output=True)
    refused = server.event("connection-refused")
    assert refused["peer"].startswith(f"{PRIVATE_PEER}:")
    assert refused["reason"] == "no permission"
    subprocess.run(
        inside("peer", "nc", "-N", "-s", PEER, *relayed), input=b"hello", timeout=10, check=True
    )
    assert client.wait(10) == 0
    assert (tmp_path / "file").read_bytes() == b"hello"
    assert server.event("ended")["bytes_from_peers"] == 5
