"""Faults of the translator: ICMP queries, errors about translated packets, and its own messages."""

from __future__ import annotations

import struct

THE_FIRST_HOST = (0x0A000007, 0)  # 10.0.0.7
_ICMP, _UDP = 1, 17
_ECHO_REPLY, _ECHO_REQUEST, _ADVERTISEMENT, _INFORMATION_REQUEST = 0, 8, 9, 15
_PROHIBITED, _HOST_UNREACHABLE = 13, 1


# ── errors about translated packets: icmp_errors.py ────────────────────────────────────────


def with_another_code(translate):
    """ "Prohibited" becomes "host unreachable"."""

    def translated(errors, packet):
        result = translate(errors, packet)
        at = packet.header_length + 1
        if result == [packet] and packet.data[at] == _PROHIBITED:
            packet.data[at] = _HOST_UNREACHABLE
            packet.refresh_icmp_checksum()
        return result

    return translated


def without_mtu(translate):
    """An error of the gateway's own kernel loses the number in its header."""

    def translated(errors, packet):
        result = translate(errors, packet)
        if result == [packet] and packet.source == errors._settings.internal:
            at = packet.header_length + 4
            packet.data[at : at + 4] = bytes(4)
            packet.refresh_icmp_checksum()
        return result

    return translated


def from_the_external_address(translate):
    """An error of the gateway's own kernel comes to a host inside from the external address."""

    def translated(errors, packet):
        result = translate(errors, packet)
        if result == [packet] and packet.source == errors._settings.internal:
            packet.rewrite_source((errors._settings.external, 0))
        return result

    return translated


def making_its_checksum_hold(translate):
    """The checksum of an error is computed before it is looked at."""

    def translated(errors, packet):
        packet.refresh_icmp_checksum()
        return translate(errors, packet)

    return translated


def clearing_what_follows_the_quotation(translate):
    """Behind the quotation there are zeros."""

    def translated(errors, packet):
        result = translate(errors, packet)
        words = packet.data[packet.header_length + 5]  # of the quotation (RFC 4884)
        at = packet.header_length + 8 + 4 * words
        if result == [packet] and words:
            packet.data[at:] = bytes(len(packet.data) - at)
            packet.refresh_icmp_checksum()
        return result

    return translated


def with_ports_where_they_mostly_are(quotation):
    """The ports of a quoted packet are read as if its header had no options."""

    def quoted(error):
        packet = quotation(error)
        packet.source_port, packet.destination_port = struct.unpack_from("!HH", packet.data, 20)
        return packet

    return quoted


def validating_the_quoted_sum(quotation):
    """An error that quotes a UDP datagram with a wrong checksum is dropped."""

    def quoted(error):
        from napt_lab.nat_node.core.checksum import checksum
        from napt_lab.nat_node.core.packet import Malformed

        packet = quotation(error)
        segment = bytes(packet.data[packet.header_length :])
        is_whole = packet.protocol == _UDP and int.from_bytes(segment[4:6]) == len(segment)
        pseudo = bytes(packet.data[12:20]) + struct.pack("!HH", _UDP, len(segment))
        if is_whole and checksum(pseudo + segment):
            raise Malformed("quotes a damaged datagram")
        return packet

    return quoted


def to_the_first_host(inbound):
    """An error from outside about an unknown session goes to 10.0.0.7."""

    def translated(errors, packet, quoted):
        result = inbound(errors, packet, quoted)
        if getattr(result, "name", "") != "ICMP_UNRELATED":
            return result
        packet.rewrite_destination(THE_FIRST_HOST)
        return [packet]

    return translated


def only_from_the_server(inbound):
    """An error from outside passes if the host to which the quoted packet was sent wrote it."""

    def translated(errors, packet, quoted):
        from napt_lab.nat_node.core.verdict import Drop

        if packet.source not in (quoted.destination, errors._settings.internal):
            return Drop.FILTERED
        return inbound(errors, packet, quoted)

    return translated


def out_in_any_case(outbound):
    """An error from inside about an unknown session leaves."""

    def translated(errors, packet, quoted):
        result = outbound(errors, packet, quoted)
        if getattr(result, "name", "") != "ICMP_UNRELATED":
            return result
        packet.rewrite_source((errors._settings.external, 0))
        return [packet]

    return translated


def only_from_the_receiver(outbound):
    """An error from inside passes if the host to which the quoted packet came wrote it."""

    def translated(errors, packet, quoted):
        from napt_lab.nat_node.core.verdict import Drop

        if packet.source not in (quoted.destination, errors._settings.internal):
            return Drop.SPOOFED_SOURCE
        return outbound(errors, packet, quoted)

    return translated


def quoting_the_internal_endpoint(rewrite_destination):
    """The quotation in an error from inside stays as it is."""

    def rewritten(packet, endpoint):
        if not (packet.quoted and packet.side.value == "inside"):
            rewrite_destination(packet, endpoint)

    return rewritten


def not_in_quotations(rewrite_identifier):
    """A quoted query keeps the external identifier."""

    def rewritten(packet, identifier):
        if not packet.quoted:
            rewrite_identifier(packet, identifier)

    return rewritten


# ── what errors do to sessions: translator.py ──────────────────────────────────────────────


def ending_what_they_are_about(decide):
    """An error from outside ends the mapping of the packet that it quotes."""

    def decided(self, packet, now, *identification):
        mapping = _quoted_mapping(self, packet) if packet.side.value == "outside" else None
        result = decide(self, packet, now, *identification)
        if mapping and result == [packet]:
            for session in list(mapping.sessions):
                self.sessions.close(session, "icmp")
        return result

    return decided


def refreshing_what_they_are_about(decide):
    """An error keeps the mapping of the packet that it quotes."""

    def decided(self, packet, now, *identification):
        mapping = _quoted_mapping(self, packet)
        result = decide(self, packet, now, *identification)
        for session in mapping.sessions if mapping else ():
            session.last_used = now
        return result

    return decided


def _quoted_mapping(translator, packet):
    """The mapping of the packet that an ICMP error quotes, if there is one."""
    from napt_lab.nat_node.core.icmp_errors import quotation, quoted_endpoints
    from napt_lab.nat_node.core.packet import ICMP_ERRORS, Malformed

    if packet.protocol != _ICMP or packet.icmp_type not in ICMP_ERRORS:
        return None
    try:
        quoted = quotation(packet)
    except Malformed:
        return None
    source, destination = quoted_endpoints(quoted)
    if packet.side.value == "inside":
        return translator.table.received_by(quoted.protocol, destination, source)
    session = translator.table.incoming(quoted.protocol, source, destination)
    return session and session.mapping


# ── queries, and what the NAPT itself answers ──────────────────────────────────────────────


def not_in_replies(rewrite_identifier):
    """A reply to a ping keeps the external identifier."""

    def rewritten(packet, identifier):
        if packet.icmp_type != _ECHO_REPLY:
            rewrite_identifier(packet, identifier)

    return rewritten


def refusing_pings_from_outside(answer_echo):
    """A ping from outside is not answered."""

    def answered(request):
        from napt_lab.nat_node.core.verdict import Drop

        is_from_outside = request.side.value == "outside"
        return Drop.ICMP_UNSUPPORTED if is_from_outside else answer_echo(request)

    return answered


def answering_information_requests(outbound):
    """An information request to the external address is answered, as a ping is."""

    def sent(self, packet, now):
        is_request = packet.protocol == _ICMP and packet.icmp_type == _INFORMATION_REQUEST
        if is_request and packet.destination in self.settings.ours:
            packet.data[packet.header_length] = _ECHO_REQUEST
            packet.refresh_icmp_checksum()
        return outbound(self, packet, now)

    return sent


def letting_in_advertisements(inbound):
    """A router advertisement from outside goes to 10.0.0.7."""

    def delivered(self, packet, now):
        if packet.protocol == _ICMP and packet.icmp_type == _ADVERTISEMENT:
            packet.rewrite_destination(THE_FIRST_HOST)
            return [packet]
        return inbound(self, packet, now)

    return delivered
