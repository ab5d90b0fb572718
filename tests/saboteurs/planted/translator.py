"""Faults of the translator, and of what it keeps."""

from __future__ import annotations

import struct
import time
from dataclasses import replace

ALICE_PORT_9 = (0x0A000007, 9)
AT_NAPT_A = 0x18090307  # 24.9.3.7
ALWAYS_LATE = 0.5  # seconds
_TCP, _UDP = 6, 17
_FIN, _SYN, _RST = 0x01, 0x02, 0x04
_wasted = []


# ── packets ────────────────────────────────────────────────────────────────────────────────


def damaging_files(forward):
    """Words of large packets change places: every checksum still holds."""

    def damage(flows, frame, length, now):
        passed = forward(flows, frame, length, now)
        if passed and length > 1200:
            frame[1000:1006] = frame[1002:1006] + frame[1000:1002]
        return passed

    return damage


def numbering_anew(translate):
    """What the NAPT sends has an Identification of its own."""

    def numbered(self, packet, now):
        verdict = translate(self, packet, now)
        for sent in verdict.packets:
            sent.rewrite_identification(4711)
        return verdict

    return numbered


def wrong_checksum(rewrite_source):
    """A wrong TCP checksum in what leaves."""

    def rewritten(packet, endpoint):
        rewrite_source(packet, endpoint)
        if packet.protocol == _TCP:
            packet.data[packet.header_length + 17] ^= 1

    return rewritten


def wrong_checksum_by_explicit_rules(deliver):
    """A wrong TCP checksum in what comes in by an explicit rule of 24.9.3.7."""

    def delivered(self, packet, now):
        ends = packet.destination_endpoint, packet.source_endpoint
        rule = self.table.ports.rule(packet.protocol, *ends)
        result = deliver(self, packet, now)
        if rule and rule.explicit and self.settings.external == AT_NAPT_A:
            packet.data[packet.header_length + 17] ^= 1
        return result

    return delivered


def leaking_fins(translate):
    """The end of a connection leaves untranslated as well."""

    def leaking(self, packet, now):
        before = bytearray(packet.data)
        verdict = translate(self, packet, now)
        is_fin = packet.protocol == _TCP and packet.tcp_flags & 1
        if verdict.packets and is_fin and packet.side.value == "inside":
            return replace(verdict, packets=[*verdict.packets, type(packet)(before)])
        return verdict

    return leaking


def letting_in_what_it_drops(translate):
    """A TCP packet without a rule is reported as dropped, and goes in."""

    def let_in(self, packet, now):
        verdict = translate(self, packet, now)
        if verdict.drop and verdict.drop.name == "NO_RULE" and packet.protocol == _TCP:
            packet.rewrite_destination(ALICE_PORT_9)
            return replace(verdict, packets=[packet])
        return verdict

    return let_in


def full_without_a_word(translate):
    """A host is not told that there is no free port."""

    def silent(self, packet, now):
        verdict = translate(self, packet, now)
        if verdict.drop and verdict.drop.name == "PORTS_EXHAUSTED":
            return replace(verdict, packets=[])
        return verdict

    return silent


def another_reason(deliver):
    """What has no rule is said to be filtered."""

    def delivered(self, packet, now):
        result = deliver(self, packet, now)
        no_rule = getattr(result, "name", "") == "NO_RULE"
        return type(result).FILTERED if no_rule else result

    return delivered


def losing_congestion_marks(forward):
    """The fast path clears the field of DSCP and ECN where a mark is in it."""

    def forwarded(flows, frame, length, now):
        passed = forward(flows, frame, length, now)
        if passed and frame[11] & 3:
            checksum = int.from_bytes(frame[20:22]) + frame[11]
            frame[20:22] = (checksum % 0xFFFF).to_bytes(2)
            frame[11] = 0
        return passed

    return forwarded


def summing_what_has_no_sum(rewrite_source):
    """A UDP checksum of 0, which means that there is none, becomes another number."""

    def rewritten(packet, endpoint):
        rewrite_source(packet, endpoint)
        at = packet.header_length + 6
        if packet.protocol == _UDP and not any(packet.data[at : at + 2]):
            packet.data[at] = 1

    return rewritten


def keeping_nothing_waiting(later):
    """A later fragment that comes before the first one is dropped."""

    def followed(fragments, piece, now):
        from napt_lab.nat_node.core.fragments import datagram
        from napt_lab.nat_node.core.verdict import Drop

        if fragments.identification(datagram(piece)) is None:
            return Drop.FRAGMENTS_FULL
        return later(fragments, piece, now)

    return followed


def keeping_the_number(give):
    """Every packet keeps the Identification that its sender gave it."""

    def given(identifications, destination, protocol, before, length):
        give(identifications, destination, protocol, before, length)
        return before

    return given


def dropping_crossed_fins(translate):
    """A FIN that does not acknowledge the inside's FIN is dropped."""
    fins = {}  # the sequence number after the inside's FIN, by the connection's two ends outside

    def translated(self, packet, now):
        from napt_lab.nat_node.core.verdict import Drop

        if packet.protocol != _TCP or not packet.tcp_flags & _FIN:
            return translate(self, packet, now)
        sequence, acknowledged = struct.unpack_from("!II", packet.data, packet.header_length + 4)
        if packet.side.value == "inside":
            verdict = translate(self, packet, now)
            fins[packet.source_endpoint, packet.destination_endpoint] = sequence + 1
            return verdict
        expected = fins.get((packet.destination_endpoint, packet.source_endpoint))
        if expected is not None and expected != acknowledged:
            self.drops[Drop.NO_CONNECTION] += 1
            return type(translate(self, packet, now))([], Drop.NO_CONNECTION)
        return translate(self, packet, now)

    return translated


def set_otherwise(init, name, value):
    """A setting is not what its owner has chosen."""

    def initialize(self, settings, below):
        kind = type(getattr(settings, name))
        init(self, replace(settings, **{name: kind(value)}), below)

    return initialize


# ── rules and sessions ─────────────────────────────────────────────────────────────────────


def nothing_to_send(_expire):
    """Nothing ever expires."""
    return lambda _self, _now: []


def overlooking_resets(follow):
    """A RST changes nothing."""

    def followed(state, flags, outbound):
        return state if flags & 4 and state.name != "OPENING_OUT" else follow(
            state, flags, outbound
        )  # fmt: skip

    return followed


def closing_at_a_reset(follow):
    """A RST is the end of a connection, whoever sent it."""

    def followed(state, flags, outbound):
        after = follow(state, flags, outbound)
        return type(after).CLOSED if flags & _RST and after.name == "RESET" else after

    return followed


def keeping_rules_of_packets(take_out):
    """A rule that a packet has made is never taken out."""

    def taken_out(table, mapping):
        if mapping.explicit:
            take_out(table, mapping)

    return taken_out


def giving_no_port_twice(choose):
    """A port that has been used once is never free again."""

    def chosen(pool, wanted, is_free, taken):
        used = vars(pool).setdefault("used", set())
        port = choose(pool, wanted, lambda port: port not in used and is_free(port), taken)
        used.add(port)
        return port

    return chosen


def of_the_next_host(block_of):
    """Each host has the block of ports of its neighbor."""
    return lambda number, *rest: block_of(number + 1, *rest)


def the_first_address(places):
    """Of several external addresses only the first is used."""

    def first(pooling, host):
        return pooling._all[:1] if len(pooling._all) > 1 else places(pooling, host)

    return first


def giving_the_oldest_port(begin):
    """Who finds no free port takes that of the protocol's oldest rule."""

    def begun(sessions, *arguments):
        session = begin(sessions, *arguments)
        if getattr(session, "name", "") == "PORTS_EXHAUSTED":
            oldest = next(rule for rule in sessions._table if rule.protocol == arguments[0])
            sessions.close(next(iter(oldest.sessions)), "evicted")
            session = begin(sessions, *arguments)
        return session

    return begun


def ending_the_oldest_for_nothing(begin):
    """Where no port is free, the sessions of the oldest UDP rule end, and the packet is dropped."""

    def begun(sessions, *arguments):
        session = begin(sessions, *arguments)
        if getattr(session, "name", "") == "PORTS_EXHAUSTED":
            oldest = next(mapping for mapping in sessions._table if mapping.protocol == _UDP)
            for other in list(oldest.sessions):
                sessions.close(other, "evicted")
        return session

    return begun


def keeping_nothing_alive(advance):
    """Segments that change no state do not keep a session."""

    def advanced(sessions, session, flags, outbound, now):
        before = session.state, session.last_used
        advance(sessions, session, flags, outbound, now)
        if session.state is before[0]:
            session.last_used = before[1]

    return advanced


def wasting_memory(start):
    """120 MiB for nothing."""

    def started(*arguments):
        start(*arguments)
        _wasted.append(bytearray(b"x") * (120 << 20))

    return started


def any_rule_will_do(rule_for_external):
    """What no rule leads anywhere goes by the first rule that there is."""

    def found(ports, protocol, port, remote):
        rules = ports._by_external.values()
        any_rule = next((rule for rule in rules if rule.protocol == protocol), None)
        return rule_for_external(ports, protocol, port, remote) or any_rule

    return found


def strangers_by_address(_admits):
    """The filter admits the addresses that the inside has called."""
    return lambda _self, mapping, remote: any(remote[0] == s.remote[0] for s in mapping.sessions)


def everyone(_admits):
    """No filtering."""
    return lambda _table, _mapping, _remote: True


def late_rules(rule_for_external):
    """An explicit rule is listed at once, and holds half a second later."""

    def found(ports, *arguments):
        rule = rule_for_external(ports, *arguments)
        late = rule and rule.explicit and time.monotonic() < rule.created + ALWAYS_LATE
        return None if late else rule

    return found


def no_explicit_rules(rule_for_external):
    """At 24.9.3.7 an explicit rule is listed, and does not hold."""

    def found(ports, *arguments):
        rule = rule_for_external(ports, *arguments)
        ignored = rule and rule.explicit and ports._settings.external == AT_NAPT_A
        return None if ignored else rule

    return found


def unlisting_only(_remove):
    """A rule that is removed is not listed any more, but holds."""

    def removed(explicit, mapping):
        by_internal = explicit._table._by_internal
        for key, other in list(by_internal.items()):
            if other is mapping:
                del by_internal[key]

    return removed


# ── port control ───────────────────────────────────────────────────────────────────────────


def any_nonce(release):
    """Who wants a lease deleted need not know its nonce."""

    def released(leases, wish, now):
        mapping = leases._table.rule_for_anyone(wish.protocol, wish.internal)
        if mapping is not None and mapping.lease is not None:
            wish = replace(wish, nonce=mapping.lease.nonce)
        return release(leases, wish, now)

    return released


def refusing_and_obeying(release):
    """Who is refused the deletion of a lease gets it all the same."""

    def released(leases, wish, now):
        try:
            return release(leases, wish, now)
        except Exception:
            any_nonce(release)(leases, wish, now)
            raise

    return released


def granting_no_time(renew):
    """A renewal is answered, and the lease ends when it would have ended."""

    def renewed(leases, wish, mapping, lease, now):
        before = lease.lifetime, lease.deadline
        grant = renew(leases, wish, mapping, lease, now)
        lease.lifetime, lease.deadline = before
        leases._deadlines.schedule(lease)
        return grant

    return renewed


def bound_to_no_side(_bind):
    """The port control server listens on all sides."""
    import socket

    def bound(_interface, _address):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        listener.bind(("", 5351))
        return listener

    return bound


def numbered(_protocols, *pairs):
    """Other protocols by their numbers."""
    return dict(pairs)


def hearing_udp_from_outside(run_ip):
    """The kernel itself takes datagrams that come from outside."""

    heard = f"rule add pref 10 iif {_OUTSIDE} ipproto udp lookup local"
    return lambda commands: run_ip([*commands, heard])


_OUTSIDE = "wan0"


def taking_all_for_insiders(answer):
    """The port control server takes every sender for alice."""
    return lambda self, data, _source, now: answer(self, data, ALICE_PORT_9[0], now)


def made_with(original, value):
    """Each one is made with this value, whatever is asked for."""
    return lambda _value: original(value)
