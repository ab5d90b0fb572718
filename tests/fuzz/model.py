"""Who may be reached from outside, told without a table: what was asked, and when.

A packet from outside may come in if an explicit rule says so, or if its receiver sent something
out through that very port before, to this remote endpoint as far as the filtering behavior can
tell (RFC 4787, section 5), and not too long ago (section 4.3: only what goes out keeps a UDP rule
alive). That is all, and it is a condition that can only be broken by a NAPT that lets in too
much. That it lets in enough is what the tests of each behavior are for.
"""

from __future__ import annotations

from napt_lab.nat_node.core.behavior import Behavior
from napt_lab.nat_node.core.settings import AddressPooling, Settings
from napt_lab.nat_node.persistence.memory import TOUCH
from tests.fuzz.judge import Broken
from tests.fuzz.packets import ICMP, TCP, UDP, Endpoint

Port = tuple[int, Endpoint]  # protocol, external endpoint


class Model:
    """What has passed one NAPT. Times in seconds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asked: dict[tuple[Port, Endpoint], dict[Endpoint, float]] = {}
        self._last: dict[tuple[Port, Endpoint], float] = {}
        self._tried: dict[tuple[int, Endpoint], set[Endpoint]] = {}
        self._ports: dict[tuple[int, Endpoint], tuple[Endpoint, float]] = {}
        self._addresses: dict[int, int] = {}  # external ones, by the host inside
        self.explicit: dict[Port, Endpoint] = {}
        self._slack = 0.0
        longest = max(settings.tcp_idle, settings.tcp_transitory_idle, settings.closing_hold)
        self._patience = {TCP: longest, UDP: settings.udp_idle, ICMP: settings.icmp_idle}

    def killed(self) -> None:
        """Whoever comes after does not know the last second."""
        self._slack = TOUCH

    def went_out(
        self, protocol: int, internal: Endpoint, external: Endpoint, remote: Endpoint, now: float
    ) -> None:
        """A packet left through an external endpoint. Raises Broken."""
        key = ((protocol, external), internal)
        if self._settings.address_pooling is AddressPooling.PAIRED:
            before = self._addresses.setdefault(internal[0], external[0])
            if before != external[0]:
                raise Broken(f"a host moved from external address {before} to {external[0]}")
        self._asked.setdefault(key, {})[remote] = now
        self._last[key] = now
        if protocol != UDP or self._settings.mapping is not Behavior.ENDPOINT_INDEPENDENT:
            return
        last = self._ports.get((protocol, internal))
        if last and last[0] != external and now - last[1] < self._settings.udp_idle:
            raise Broken(f"a living mapping moved from {last[0]} to {external}")
        self._ports[(protocol, internal)] = (external, now)

    def tried_in_vain(self, protocol: int, internal: Endpoint, remote: Endpoint) -> None:
        """A packet to our own external address made a rule, but reached nobody.

        The rule must stay, for two neighbors may be calling each other by their external
        endpoints. By which port it is, nobody has seen.
        """
        self._tried.setdefault((protocol, internal), set()).add(remote)

    def came_in(
        self, protocol: int, internal: Endpoint, external: Endpoint, remote: Endpoint, now: float
    ) -> None:
        """A packet was let in. Raises Broken."""
        if self.explicit.get((protocol, external)) == internal:
            return
        project = self._settings.filtering.project
        tried = self._tried.get((protocol, internal), ())
        if any(project(one) == project(remote) for one in tried):
            return
        key = ((protocol, external), internal)
        asked = self._asked.get(key)
        if asked is None:
            raise Broken(f"{internal} never used {external}, and was reached by it")
        times = [time for one, time in asked.items() if project(one) == project(remote)]
        if not times:
            raise Broken(f"{internal} never sent to {remote}, and was reached by it")
        if protocol == TCP:  # where what comes in counts as well
            idle = now - self._last[key]
            self._last[key] = now
        else:
            idle = now - max(times)
        if idle > self._patience[protocol] + self._slack:
            raise Broken(f"a rule lets a packet in after {idle} s of silence")

    def knows(self, protocol: int, external: Endpoint, internal: Endpoint) -> bool:
        """Whether this internal endpoint has had this external one."""
        key = (protocol, external)
        return (
            self.explicit.get(key) == internal
            or (key, internal) in self._asked
            or (protocol, internal) in self._tried
        )

    def add(self, port: Port, internal: Endpoint) -> None:
        """An explicit rule. An internal endpoint may have another port from now on."""
        self.explicit[port] = internal
        self._ports.clear()

    def remove(self, port: Port) -> None:
        """The explicit rule is gone, and so are its sessions."""
        internal = self.explicit.pop(port)
        self._asked.pop((port, internal), None)
        self._ports.clear()
