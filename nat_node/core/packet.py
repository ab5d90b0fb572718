"""One IPv4 packet: its headers, and how an endpoint is rewritten with every checksum it is in.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------+-------+---------------+-------------------------------+
    |   4   |  IHL  | Type of service         Total length          |   RFC 791
    +-------+-------+---------------+-----+-------------------------+
    |         Identification        |Flags|     Fragment offset     |
    +---------------+---------------+-----+-------------------------+
    |  Time to live |    Protocol   |        Header checksum        |
    +---------------+---------------+-------------------------------+
    |                        Source address                         |
    +---------------------------------------------------------------+
    |                      Destination address                      |
    +=================== options, if IHL > 5 =======================+
    |          Source port          |        Destination port       |   RFC 9293, RFC 768
    +-------------------------------+-------------------------------+
     TCP: flags at 13, checksum at 16          UDP: checksum at 6
     ICMP (RFC 792): type 0, code 1, checksum 2; in a query: identifier 4, sequence number 6

The checksums of TCP and UDP also cover a pseudo-header with both addresses, so they change with
every rewritten address. ICMP's does not.
"""

from __future__ import annotations

from enum import Enum
from struct import Struct, error

from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.checksum import checksum, difference, update, update_partial

ICMP, TCP, UDP = 1, 6, 17
PROTOCOL_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp"}

ECHO_REPLY, UNREACHABLE, ECHO_REQUEST, TIME_EXCEEDED, PARAMETER_PROBLEM = 0, 3, 8, 11, 12
TIMESTAMP, TIMESTAMP_REPLY = 13, 14
ICMP_ERRORS = (UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM)
#: The queries that may cross a NAPT (RFC 1122, section 3.2.2). Of the others, information requests
#: are obsolete (RFC 5508, REQ-10c) and address mask requests are for one's own network.
ICMP_QUERIES = (ECHO_REQUEST, TIMESTAMP)
ICMP_REPLIES = (ECHO_REPLY, TIMESTAMP_REPLY)

_HEADER = Struct("!BxHHHBBHII")
_PORTS = Struct("!HH")
_field, _put_field = Struct("!H").unpack_from, Struct("!H").pack_into
_put_address = Struct("!I").pack_into
_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2}
_SHORTEST = {TCP: 20, UDP: 8, ICMP: 8}
_LONGEST = 65_535
_HAVE_PORTS = (TCP, UDP)
DONT_FRAGMENT, MORE_FRAGMENTS, OFFSET_MASK = 0x4000, 0x2000, 0x1FFF
PIECE = MORE_FRAGMENTS | OFFSET_MASK
"""Any of these bits: a piece of a packet, the first one included."""
_END_OF_OPTIONS, _NO_OPERATION = 0, 1
_SOURCE_ROUTES = (131, 137)  # loose, strict


class Side(Enum):
    """Where a packet came from."""

    INSIDE = "inside"
    OUTSIDE = "outside"


# Plain names: a look-up on an enum class for every packet would be felt.
INSIDE, OUTSIDE = Side


class Malformed(ValueError):
    """The headers contradict each other, or the packet ends too early."""


class Packet:
    """A packet in a writable buffer; rewriting changes the buffer in place.

    `partial`: the TCP or UDP checksum is the pseudo-header's sum only (see checksum.py).
    `quoted`: an ICMP error quotes the packet, so it may end after 8 bytes of its transport header,
    and be shorter than its header says (RFC 792, RFC 1812). Raises Malformed.
    """

    __slots__ = (
        "data", "destination", "destination_port", "fragment", "header_length",
        "identification", "partial", "protocol", "quoted", "side", "source", "source_port",
    )  # fmt: skip

    def __init__(
        self,
        data: bytearray | memoryview,
        side: Side = INSIDE,
        partial: bool = False,
        quoted: bool = False,
    ) -> None:
        self.data = data
        self.side = side
        self.partial = partial
        self.quoted = quoted
        try:
            version_ihl, length, self.identification, self.fragment, _, self.protocol, _, \
                self.source, self.destination = _HEADER.unpack_from(data)  # fmt: skip
        except error:
            raise Malformed("shorter than an IPv4 header") from None
        self.header_length = header_length = (version_ihl & 0x0F) * 4
        if version_ihl >> 4 != 4 or header_length < 20:
            raise Malformed("not an IPv4 header")
        if length < header_length or (length != len(data) and not quoted):
            raise Malformed("the length in the header is not the packet's length")
        self.source_port = self.destination_port = 0
        if self.fragment & OFFSET_MASK:
            if (self.fragment & OFFSET_MASK) * 8 + length > _LONGEST:
                raise Malformed("a fragment that would end beyond the longest datagram (RFC 791)")
            if self.protocol == TCP and self.fragment & OFFSET_MASK == 1:
                raise Malformed("a fragment that would overwrite TCP's flags (RFC 3128)")
            return
        # A TCP checksum 16 bytes in may be missing from a quotation: 8 bytes are enough there.
        shortest = 8 if quoted else _SHORTEST.get(self.protocol, 0)
        if len(data) - header_length < shortest:
            raise Malformed("shorter than its transport header")
        if self.protocol in _HAVE_PORTS:
            self.source_port, self.destination_port = _PORTS.unpack_from(data, header_length)
            if not (self.source_port and self.destination_port):
                raise Malformed("port 0 is not valid (RFC 6335)")

    # -- what the headers say -----------------------------------------------------------------

    @property
    def is_fragment(self) -> bool:
        """Whether this is a piece of a packet, the first one included."""
        return bool(self.fragment & PIECE)

    @property
    def is_later_fragment(self) -> bool:
        """Whether this piece has no transport header."""
        return bool(self.fragment & OFFSET_MASK)

    @property
    def is_atomic(self) -> bool:
        """Whether this is not, and cannot become, a piece of a packet (RFC 6864, section 4)."""
        return bool(self.fragment & (DONT_FRAGMENT | PIECE) == DONT_FRAGMENT)

    @property
    def has_tcp_flags(self) -> bool:
        """Whether a TCP segment is long enough for its flags: a quoted one may not be."""
        return bool(len(self.data) > self.header_length + 13)

    @property
    def tcp_flags(self) -> int:
        """FIN 1, SYN 2, RST 4, PSH 8, ACK 16."""
        return int(self.data[self.header_length + 13])

    @property
    def icmp_type(self) -> int:
        """The first byte of an ICMP message."""
        return int(self.data[self.header_length])

    @property
    def icmp_identifier(self) -> int:
        """A query's identifier: it does for ICMP queries what a port does for TCP and UDP."""
        return int(_field(self.data, self.header_length + 4)[0])

    @property
    def source_endpoint(self) -> Endpoint:
        """The source address and port."""
        return (self.source, self.source_port)

    @property
    def destination_endpoint(self) -> Endpoint:
        """The destination address and port."""
        return (self.destination, self.destination_port)

    # -- rewriting ----------------------------------------------------------------------------

    def rewrite_source(self, endpoint: Endpoint) -> None:
        """Put `endpoint` into the source, and the difference into every checksum over it."""
        address, port = endpoint
        change = difference(self.source, address)
        self._rewrite(12, address, change, 0, self.source_port, port)
        self.source = address
        if self.source_port:
            self.source_port = port

    def rewrite_destination(self, endpoint: Endpoint) -> None:
        """Put `endpoint` into the destination, and the difference into every checksum over it."""
        address, port = endpoint
        change = difference(self.destination, address)
        self._rewrite(16, address, change, 2, self.destination_port, port)
        self.destination = address
        if self.destination_port:
            self.destination_port = port

    def _rewrite(
        self, address_at: int, address: int, change: int, port_at: int, old_port: int, port: int
    ) -> None:
        data, header_length, protocol = self.data, self.header_length, self.protocol
        _put_address(data, address_at, address)
        _put_field(data, 10, update(_field(data, 10)[0], change))
        if protocol not in _HAVE_PORTS or self.fragment & OFFSET_MASK:
            return
        _put_field(data, header_length + port_at, port)
        at = header_length + _CHECKSUM_AT[protocol]
        if at + 2 > len(data):
            return  # a quotation that ends before the checksum
        (field,) = _field(data, at)
        if self.partial:
            field = update_partial(field, change)
        elif protocol == UDP:
            if field == 0:
                return  # "no checksum" stays so (RFC 768; RFC 4787 calls for nothing else)
            field = update(field, change + difference(old_port, port)) or 0xFFFF
        else:
            field = update(field, change + difference(old_port, port))
        _put_field(data, at, field)

    def rewrite_identification(self, number: int) -> None:
        """Replace the IPv4 header's Identification."""
        change = difference(self.identification, number)
        _put_field(self.data, 4, number)
        _put_field(self.data, 10, update(_field(self.data, 10)[0], change))
        self.identification = number

    def rewrite_identifier(self, identifier: int) -> None:
        """Replace a query's identifier; the ICMP checksum follows."""
        data, start = self.data, self.header_length
        change = difference(self.icmp_identifier, identifier)
        _put_field(data, start + 4, identifier)
        _put_field(data, start + 2, update(_field(data, start + 2)[0], change))

    def refresh_icmp_checksum(self) -> None:
        """Compute the ICMP checksum of a new message."""
        start = self.header_length
        _put_field(self.data, start + 2, 0)
        _put_field(self.data, start + 2, checksum(self.data[start:]))

    def body_checksum(self) -> int:
        """The checksum of all behind the header: 0 for a whole ICMP message that is undamaged."""
        return checksum(self.data[self.header_length :])

    def carry_into_icmp_checksum(self, before: int) -> None:
        """Update the ICMP checksum after a change; `before` the change body_checksum() gave this.

        This works for a fragment as well, and a damaged message stays damaged.
        """
        start = self.header_length
        change = difference(self.body_checksum(), before)
        _put_field(self.data, start + 2, update(_field(self.data, start + 2)[0], change))

    def refresh_header_checksum(self) -> None:
        """Compute the IPv4 header's checksum anew."""
        self.data[10:12] = b"\0\0"
        _put_field(self.data, 10, checksum(self.data[: self.header_length]))

    def header_checksum_holds(self) -> bool:
        """Whether the IPv4 header is as it was sent."""
        return checksum(self.data[: self.header_length]) == 0

    def has_source_route(self) -> bool:
        """Whether the sender has listed routers to pass (RFC 791, section 3.1)."""
        at, end = 20, self.header_length
        while at < end and (kind := self.data[at]) != _END_OF_OPTIONS:
            if kind in _SOURCE_ROUTES:
                return True
            length = 1 if kind == _NO_OPERATION else self.data[at + 1] if at + 1 < end else 0
            at += length or end
        return False


def protocol_name(protocol: int) -> str:
    """As people name it: `tcp`, or `protocol 50` for one that is not translated."""
    return PROTOCOL_NAMES.get(protocol, f"protocol {protocol}")


def give_back_hop(data: bytearray | memoryview) -> None:
    """Add one to the time to live.

    The kernel forwards a packet twice: to the translator and from it. One of the two hops is given
    back, so that the whole NAPT counts as one.
    """
    ttl = data[8]
    if ttl < 255:
        data[8] = ttl + 1
        _put_field(data, 10, update(_field(data, 10)[0], 0x0100))
