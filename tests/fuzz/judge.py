"""What must hold for every packet that comes out, whatever came in.

Toward the outside: only our external address, never a private one (RFC 1918). Toward the inside:
only to a host there. Nothing changes but what a NAPT must change: addresses, ports or an echo's
identifier, the checksums over them, the hop that the node gives back, and on the way out the
Identification of what may be cut (RFC 6864). In an ICMP error the same holds for the packet that
it quotes. A checksum that was right is right. A packet is as long as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network

from napt_lab.nat_node.core.settings import Settings
from tests.fuzz.packets import DF, ICMP, MF, TCP, UDP, add_up, pseudo_header

#: As number and mask: RFC 1918, and what RFC 6890 calls not global.
MEANS_NOTHING = [
    (int(network.network_address), int(network.netmask))
    for network in map(
        IPv4Network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "0.0.0.0/8", "127.0.0.0/8",
         "169.254.0.0/16", "224.0.0.0/3"),
    )
]  # fmt: skip
ERRORS = (b"\x03", b"\x0b", b"\x0c")
_CHECKSUM_AT = {TCP: 16, UDP: 6}


class Broken(AssertionError):
    """Something did not hold; the text says what."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet as the judge reads it."""

    data: bytes
    size: int  # of the IPv4 header
    source: int
    destination: int
    protocol: int
    fragment: int

    @classmethod
    def of(cls, data: bytes) -> Seen | None:
        """None for what is no IPv4 header."""
        if len(data) < 20 or data[0] >> 4 != 4 or not 20 <= (data[0] & 15) * 4 <= len(data):
            return None
        return cls(
            data, (data[0] & 15) * 4, int.from_bytes(data[12:16], "big"),
            int.from_bytes(data[16:20], "big"), data[9], int.from_bytes(data[6:8], "big"),
        )  # fmt: skip

    @property
    def body(self) -> bytes:
        return self.data[self.size :]

    @property
    def later(self) -> bool:
        return bool(self.fragment & 0x1FFF)

    @property
    def whole(self) -> bool:
        """Neither a fragment nor cut off."""
        length = int.from_bytes(self.data[2:4], "big")
        return not self.fragment & (MF | 0x1FFF) and length == len(self.data)

    @property
    def ports(self) -> tuple[int, int]:
        """Of TCP and UDP; an echo's identifier twice."""
        if self.protocol == ICMP:
            return (int.from_bytes(self.body[4:6], "big"),) * 2
        return int.from_bytes(self.body[:2], "big"), int.from_bytes(self.body[2:4], "big")

    @property
    def is_error(self) -> bool:
        return (
            self.protocol == ICMP and not self.later and self.body[:1] in (b"\3", b"\x0b", b"\x0c")
        )

    @property
    def is_ping(self) -> bool:
        return self.protocol == ICMP and not self.later and self.body[:1] == b"\x08"


def right_checksums(seen: Seen, partial: bool = False) -> set[str]:
    """The checksums that hold, by name; of a packet that is not whole only the header's."""
    right = {"header"} if add_up(seen.data[: seen.size]) == 0xFFFF else set()
    body = seen.body
    if not seen.whole:
        return right
    if seen.protocol == ICMP and len(body) >= 8:
        if add_up(body) == 0xFFFF:
            right.add("icmp")
        if seen.is_error and (quoted := Seen.of(body[8:])) is not None:
            right |= {f"quoted {name}" for name in right_checksums(quoted)}
        return right
    at = _CHECKSUM_AT.get(seen.protocol)
    if at is None or len(body) < at + 2:
        return right
    field = int.from_bytes(body[at : at + 2], "big")
    pseudo = pseudo_header(seen.data, len(body))
    if seen.protocol == UDP and field == 0:
        right.add("none")
    elif partial:
        if add_up(pseudo) == field:
            right.add("partial")
    elif add_up(pseudo + body) == 0xFFFF:
        right.add("transport")
    return right


def judge_place(seen: Seen, settings: Settings) -> None:
    """Where a packet is on its way to, and from whom."""
    if seen.destination in settings.ours:
        raise Broken("it is addressed to the NAPT itself: the kernel would take it for its own")
    if settings.is_inside(seen.destination):
        return
    if seen.source not in settings.ours:
        raise Broken("a source that is no external address goes outside")
    if any(seen.destination & mask == network for network, mask in MEANS_NOTHING):
        raise Broken("a packet to an address that means nothing outside goes there")


def judge_translation(
    came: Seen, left: Seen, settings: Settings, partial: bool, outbound: bool
) -> None:
    """What became of one packet."""
    if len(left.data) != len(came.data):
        raise Broken(f"{len(came.data)} bytes came and {len(left.data)} left")
    lost = right_checksums(came, partial) - right_checksums(left, partial)
    if lost:
        raise Broken(f"checksums were right and are wrong: {', '.join(sorted(lost))}")
    if blank(came, outbound) != blank(left, outbound):
        raise Broken("more was changed than addresses, ports and checksums")
    ttl, was = left.data[8], came.data[8]
    if ttl != min(255, was + 1):
        raise Broken(f"time to live {was} became {ttl}")
    hairpinned = {came.destination, left.source} <= settings.ours
    if outbound and came.destination != left.destination and not hairpinned:
        raise Broken("the destination of an outbound packet was changed")
    if not outbound and came.source != left.source:
        raise Broken("the source of an inbound packet was changed")
    # Errors of our own kernel come from there; the kernel lets none in that only claims to be.
    if not outbound and came.source in settings.ours and not came.is_error:
        raise Broken("a packet from outside that claims to be from ourselves is let in")


def judge_own_words(came: Seen | None, left: Seen) -> None:
    """What the NAPT itself says: a ping's answer, or an error about `came` (None: not known)."""
    right = right_checksums(left)
    if not (right >= {"header", "icmp"} if left.whole else "header" in right):
        raise Broken("what the NAPT itself says has a wrong checksum")
    if came is None:
        return
    if left.destination != came.source:
        raise Broken("what the NAPT says about a packet goes to someone else than its sender")
    if left.later:
        if left.body != came.body:
            raise Broken("a piece of a ping's answer is not its echo")
    elif not left.is_error:
        if left.body[4:] != came.body[4:] or left.body[0] != 0:
            raise Broken("a ping's answer is not its echo")
    elif came.is_error or came.later:
        raise Broken("an error about an error or about a later fragment")
    elif not came.data.startswith(left.body[8:]) or len(left.data) > 576:
        raise Broken("an error does not quote the packet that it is about")


def blank(seen: Seen, outbound: bool) -> bytes:
    """A packet without what a NAPT may change."""
    data = bytearray(seen.data)
    data[8] = 0
    data[10:20] = bytes(10)
    if outbound and not (seen.fragment & DF and not seen.fragment & (MF | 0x1FFF)):
        data[4:6] = b"\0\0"
    if seen.later:
        return bytes(data)
    start, at = seen.size, _CHECKSUM_AT.get(seen.protocol)
    if at is not None:
        _clear(data, start, 4)
        _clear(data, start + at, 2)
    elif seen.protocol == ICMP:
        _clear(data, start + 2, 2)
        if not seen.is_error:
            _clear(data, start + 4, 2)
        elif (quoted := Seen.of(seen.body[8:])) is not None:
            inner = bytearray(blank(quoted, outbound))
            inner[4:6] = b"\0\0"
            inner[8] = quoted.data[8]
            data[start + 8 :] = inner
    return bytes(data)


def _clear(data: bytearray, at: int, count: int) -> None:
    end = min(at + count, len(data))
    data[at:end] = bytes(max(0, end - at))
