"""Faults of the translator: what it does to the headers and the data of a packet on its way."""

from __future__ import annotations

import struct

VNET_HEADER = 10  # bytes before the packet in a frame of the fast path
_TCP, _UDP = 6, 17
_DONT_FRAGMENT = 0x40
_ECN = 0xC0  # TCP's flags CWR and ECE


def like_a_sip_alg(rewrite_source):
    """The private address in the data becomes the external one."""

    def rewritten(packet, endpoint):
        rewrite_source(packet, endpoint)
        at = bytes(packet.data).find(b"10.0.0.7")
        if at >= 0:
            packet.data[at : at + 8] = b"24.9.3.7"

    return rewritten


def without_options(rewrite_source):
    """The options of the IPv4 header become fillers."""

    def rewritten(packet, endpoint):
        rewrite_source(packet, endpoint)
        if packet.header_length > 20 and not packet.quoted:
            packet.data[20 : packet.header_length] = b"\1" * (packet.header_length - 20)
            packet.refresh_header_checksum()

    return rewritten


def reordering_tcp_options(rewrite_source):
    """Of many options the first two words change places: the checksum holds."""

    def rewritten(packet, endpoint):
        rewrite_source(packet, endpoint)
        at = packet.header_length + 20
        if packet.protocol == _TCP and not packet.quoted and packet.data[at - 8] >> 4 > 6:
            first, second = bytes(packet.data[at : at + 2]), bytes(packet.data[at + 2 : at + 4])
            packet.data[at : at + 4] = second + first

    return rewritten


def clearing_flags_of_ecn(rewrite_source):
    """TCP's flags for congestion notification are cleared."""

    def rewritten(packet, endpoint):
        from napt_lab.nat_node.core.checksum import difference, update

        rewrite_source(packet, endpoint)
        at = packet.header_length + 13
        if packet.protocol == _TCP and not packet.quoted and packet.data[at] & _ECN:
            flags = packet.data[at]
            packet.data[at] = flags & ~_ECN
            (field,) = struct.unpack_from("!H", packet.data, at + 3)
            field = update(field, difference(flags, packet.data[at]))
            struct.pack_into("!H", packet.data, at + 3, field)

    return rewritten


def sending_0_for_65535(rewrite_source):
    """A UDP checksum that computes to 0 is sent as 0, which means that there is none."""

    def rewritten(packet, endpoint):
        rewrite_source(packet, endpoint)
        at = packet.header_length + 6
        if packet.protocol == _UDP and packet.data[at : at + 2] == b"\xff\xff":
            packet.data[at : at + 2] = b"\0\0"

    return rewritten


def summing_anew(rewrite_source):
    """A UDP checksum is not updated but computed, whether it held or not."""

    def rewritten(packet, endpoint):
        from napt_lab.nat_node.core.checksum import checksum

        rewrite_source(packet, endpoint)
        segment = bytearray(packet.data[packet.header_length :])
        if packet.protocol != _UDP or packet.is_fragment or not any(segment[6:8]):
            return
        if int.from_bytes(segment[4:6]) == len(segment):
            segment[6:8] = b"\0\0"
            pseudo = bytes(packet.data[12:20]) + struct.pack("!HH", _UDP, len(segment))
            total = checksum(pseudo + segment) or 0xFFFF
            struct.pack_into("!H", packet.data, packet.header_length + 6, total)

    return rewritten


def leaving_the_sum_of_udp(forward):
    """The fast path does not update the checksum of UDP."""

    def forwarded(flows, frame, length, now):
        at = VNET_HEADER + 20 + 6
        before = frame[at : at + 2]
        passed = forward(flows, frame, length, now)
        if passed and frame[VNET_HEADER + 9] == _UDP:
            frame[at : at + 2] = before
        return passed

    return forwarded


def setting_dont_fragment_on_the_fast_path(forward):
    """The fast path sets Don't Fragment."""

    def forwarded(flows, frame, length, now):
        passed = forward(flows, frame, length, now)
        if passed and not frame[VNET_HEADER + 6] & _DONT_FRAGMENT:
            frame[VNET_HEADER + 6] |= _DONT_FRAGMENT
            at = VNET_HEADER + 10
            checksum = int.from_bytes(frame[at : at + 2]) - (_DONT_FRAGMENT << 8)
            frame[at : at + 2] = (checksum % 0xFFFF).to_bytes(2)
        return passed

    return forwarded


def setting_dont_fragment(translate):
    """The first packets of a session leave with Don't Fragment."""

    def translated(self, packet, now):
        verdict = translate(self, packet, now)
        for sent in verdict.packets:
            if sent.side.value == "inside" and not sent.is_fragment:
                sent.data[6] |= _DONT_FRAGMENT
                sent.refresh_header_checksum()
        return verdict

    return translated


def letting_out_what_it_cannot_translate(decide):
    """A packet of another protocol leaves as it is."""

    def decided(self, packet, now, *identification):
        result = decide(self, packet, now, *identification)
        leaves = packet.side.value == "inside" and getattr(result, "name", "") == (
            "UNSUPPORTED_PROTOCOL"
        )
        return [packet] if leaves else result

    return decided


def losing_fragments_in_order(first):
    """The later fragments from outside do not follow a first one for which none has waited."""

    def noted(fragments, original, verdict, now):
        pieces = first(fragments, original, verdict, now)
        if not pieces and original[0].value == "outside":
            fragments._passing.pop(original, None)
        return pieces

    return noted


def losing_fragments_in_a_flood(first):
    """While many fragments wait, no later fragment follows its first one."""

    def noted(fragments, original, verdict, now):
        pieces = first(fragments, original, verdict, now)
        if len(fragments._waiting) > 200:
            fragments._passing.pop(original, None)
        return pieces

    return noted
