"""What the kernel's NAT tells of: packets cut short, and a listener who has gone meanwhile."""

import socket
from struct import pack

import pytest

from napt_lab.nat_node.engines.nftables.packet_log import logged
from napt_lab.nat_node.system.netlink import Netlink, attribute
from tests.unit.nat_node.nat_testing import ALICE, EXTERNAL, SERVER, set_bytes, tcp, udp

WEB, US = f"{SERVER}:80", f"{EXTERNAL}:8080"
LOGGED = 0x400


class Told(Netlink):
    """A socket of netfilter's on which the test speaks in the kernel's place."""

    def __init__(self):
        self.socket, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def tell(self, *bodies):
        """Messages that come in one datagram."""
        self.kernel.send(
            b"".join(pack("=IHHII4x", 20 + len(body), LOGGED, 0, 0, 0) + body for body in bodies)
        )

    def close(self):
        super().close()
        self.kernel.close()


@pytest.fixture
def netlink():
    netlink = Told()
    yield netlink
    netlink.close()


def cut(packet, length):
    """A packet that was sent with so few bytes, and says so."""
    return set_bytes(packet[:length], 2, length.to_bytes(2, "big"))


@pytest.mark.parametrize(
    ("packet", "shown"),
    [
        (tcp(WEB, US, "SA"), f"tcp SYN-ACK {WEB} > {US}"),
        (tcp(WEB, US, payload=b"x" * 1000)[:80], f"tcp SYN {WEB} > {US}"),
        (cut(tcp(WEB, US), 28), f"tcp {WEB} > {US}"),  # no room for flags
        (cut(tcp(WEB, US), 27), "shorter than its transport header"),
        (udp(f"{ALICE}:9", WEB), f"udp {ALICE}:9 > {WEB}"),
    ],
)
def test_a_logged_packet_in_words(netlink, packet, shown):
    netlink.tell(attribute(10, b"no-rule\0") + attribute(9, packet))
    assert list(logged(netlink)) == [("no-rule", 0, shown)]


def test_who_listens_no_more_may_end_it_in_the_middle(netlink):
    """A watcher is found gone when he is told of the first message; others have come behind it."""
    for _ in range(2):
        netlink.tell(attribute(1, b"one"), attribute(1, b"two"))
    heard = []
    for _, body in netlink.told():
        heard.append(body)
        netlink.close()
    assert len(heard) == 2, "what was read already"
