"""Faults of the translator: which rules and sessions there are, whom they admit, how they last."""

from __future__ import annotations

_TCP, _UDP = 6, 17
_CONTROL_AND_ACK = 0x17


# ── which port ─────────────────────────────────────────────────────────────────────────────


def one_for_neighbors(choose):
    """Two hosts that call one remote endpoint from one port get one external endpoint."""

    def chosen(ports, protocol, internal, remote, now):
        external = choose(ports, protocol, internal, remote, now)
        given = vars(ports).setdefault("given", {})
        pair = (internal[0] + 1) // 2  # 10.0.0.7 and 10.0.0.8
        return given.setdefault((protocol, pair, internal[1], remote), external)

    return chosen


def not_where_ports_collide(rule_for_internal):
    """A session does not use a rule that there is if another host has a rule of the same port."""

    def found(table, protocol, internal, remote):
        host, port = internal
        others = ((key[0], key[1][1]) for key in table._by_internal if key[1][0] != host)
        if (protocol, port) in others:
            return None
        return rule_for_internal(table, protocol, internal, remote)

    return found


def leaving_out(choose, left_out):
    """One port of the pool is never given."""

    def chosen(pool, wanted, is_free, taken):
        return choose(pool, wanted, lambda port: port != left_out and is_free(port), taken)

    return chosen


# ── who gets in ────────────────────────────────────────────────────────────────────────────


def only_called_endpoints(admits):
    """The filter admits the endpoints that the inside has called."""

    def admitted(table, mapping, remote):
        called = table.session(mapping, remote) is not None
        return called or (mapping.explicit and admits(table, mapping, remote))

    return admitted


def not_by_explicit_rules(admits):
    """Explicit rules admit no remote endpoint."""
    return lambda table, mapping, remote: not mapping.explicit and admits(table, mapping, remote)


def udp_by_rules_of_tcp(rule):
    """A datagram that has no rule gets in by that of TCP for the same port."""

    def found(ports, protocol, external, remote):
        own = rule(ports, protocol, external, remote)
        return rule(ports, _TCP, external, remote) if own is None and protocol == _UDP else own

    return found


# ── how long ───────────────────────────────────────────────────────────────────────────────


def refreshing_nothing(init):
    """Packets on the fast path do not keep their session."""

    def initialize(flow, *arguments):
        init(flow, *arguments)
        flow.refreshes = False

    return initialize


def refreshing_from_outside(init):
    """Packets from outside keep a UDP session, once it is on the fast path."""

    def initialize(flow, *arguments):
        init(flow, *arguments)
        flow.refreshes = True

    return initialize


def refreshed_by_what_is_dropped(deliver):
    """A packet from outside that is dropped at a rule keeps the rule's sessions."""

    def delivered(self, packet, now):
        ends = packet.destination_endpoint, packet.source_endpoint
        result = deliver(self, packet, now)
        rule = self.table.ports.rule(packet.protocol, *ends)
        if getattr(result, "name", "") in ("FILTERED", "NO_CONNECTION") and rule:
            for session in rule.sessions:
                session.last_used = now
        return result

    return delivered


# ── how many, and who is told ──────────────────────────────────────────────────────────────


def so_many_a_second(begin, rate, burst):
    """A host may begin only so many sessions a second."""

    def begun(sessions, protocol, internal, remote, now):
        from napt_lab.nat_node.core.icmp import Budget
        from napt_lab.nat_node.core.verdict import Drop

        budgets = vars(sessions).setdefault("budgets", {})
        budget = budgets.setdefault(internal[0], Budget(rate, burst))
        if not budget.spend(now):
            return Drop.HOST_LIMIT
        return begin(sessions, protocol, internal, remote, now)

    return begun


def but_not_of_full_pools(broadcast):
    """No event tells that a packet was dropped for want of a port."""

    def told(node, event):
        reason = getattr(event, "reason", None)
        if getattr(reason, "name", "") != "PORTS_EXHAUSTED":
            broadcast(node, event)

    return told


def without_counters(rule):
    """A rule is listed as if no packet had used it."""
    return lambda *arguments: {**rule(*arguments), "packets_out": 0, "packets_in": 0}


# ── connections ────────────────────────────────────────────────────────────────────────────


def dropping(decide, side, state, flags):
    """A segment with exactly these flags (of SYN, FIN, RST, ACK) is dropped in this state."""

    def decided(self, packet, now, *identification):
        from napt_lab.nat_node.core.verdict import Drop

        ends = packet.source_endpoint, packet.destination_endpoint
        session = self.table.outgoing(_TCP, *ends) or self.table.incoming(_TCP, *reversed(ends))
        is_meant = packet.side.value == side and session is not None and session.state.name == state
        if is_meant and packet.protocol == _TCP and packet.tcp_flags & _CONTROL_AND_ACK == flags:
            return Drop.NO_CONNECTION
        return decide(self, packet, now, *identification)

    return decided
