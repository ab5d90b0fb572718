"""What the kernel's NAT tells of: packets cut short, and a listener who has gone meanwhile."""

import contextlib
import socket
from struct import pack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napt_lab.nat_node.control import report
from napt_lab.nat_node.core.mapping import Mapping
from napt_lab.nat_node.engines.nftables.conntrack import Unreadable, read
from napt_lab.nat_node.engines.nftables.packet_log import logged
from napt_lab.nat_node.system.netlink import Netlink, attribute
from tests.packets import set_bytes, tcp, udp
from tests.unit.nat_node.nat_testing import ALICE, EXTERNAL, SERVER

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


def test_a_message_that_is_no_logged_packet_is_told(netlink):
    netlink.tell(attribute(10, b"no-rule\0"))  # without the packet itself
    assert list(logged(netlink)) == [None]


def session(protocol, ends=b"", reply_ends=None):
    """A record of connection tracking: ALICE to SERVER, translated."""

    def half(source, destination, ends):
        addresses = attribute(1, socket.inet_aton(source)) + attribute(
            2, socket.inet_aton(destination)
        )
        return attribute(1, addresses) + attribute(2, attribute(1, bytes([protocol])) + ends)

    back = half(SERVER, EXTERNAL, ends if reply_ends is None else reply_ends)
    return attribute(1, half(ALICE, SERVER, ends)) + attribute(2, back)


@pytest.mark.parametrize("protocol", [2, 4, 41, 47, 50, 51, 132, 255])
def test_a_session_of_a_protocol_without_ports_is_a_rule_in_words(protocol):
    entry = read(session(protocol))
    mapping = Mapping(1, protocol, entry.internal, entry.external, entry.remote, 0.0, "x", False)
    described = report.rule(mapping, 0.0, lambda now: now, bool)
    assert (described["protocol"], described["internal"], described["remote"]) == (
        f"protocol {protocol}",
        f"{ALICE}:*",
        f"{SERVER}:*",
    )


UDP_SESSION = session(17, attribute(2, pack("!H", 9)) + attribute(3, pack("!H", 53)))


@given(st.one_of(st.binary(max_size=300), st.builds(
    lambda at, cut: UDP_SESSION[:at] + cut + UDP_SESSION[at + len(cut):],
    st.integers(0, len(UDP_SESSION)), st.binary(max_size=8),
)))  # fmt: skip
@example(b"")
@example(attribute(1, b"") + attribute(2, b""))
@example(UDP_SESSION + attribute(7, b"\xff" * 200))  # a time-out
@example(session(17, attribute(2, b"\xff" * 9)))  # a port
def test_any_record_is_read_or_refused(data):
    with contextlib.suppress(Unreadable):
        entry = read(data)
        mapping = Mapping(
            1, entry.protocol, entry.internal, entry.external, entry.remote, 0.0, "x", False
        )
        assert report.rule(mapping, 0.0, lambda now: now, bool)


@given(st.lists(st.binary(max_size=200).map(lambda body: body + bytes(-len(body) % 4)), min_size=1))
@example([attribute(9, b"\x45")])
@example([attribute(9, bytes(20)) + attribute(10, b"\xff\xfe") + attribute(4, b"x" * 40)])
def test_any_logged_message_is_read_or_told(bodies):
    netlink = Told()
    try:
        netlink.tell(*bodies)
        assert len(list(logged(netlink))) == len(bodies)
    finally:
        netlink.close()


@given(st.binary(max_size=200))
@example(bytes(16))  # a length of 0
def test_any_bytes_from_the_kernel_come_to_an_end(data):
    netlink = Told()
    try:
        netlink.kernel.send(data or b"\0")
        assert len(list(logged(netlink))) <= len(data) / 16
    finally:
        netlink.close()
