"""The model of the matrix, against the translator's own core, and against what the field knows.

The oracle sends packets through two real translators, for every pair of types. It has no model of
them, only of the two hosts: they send, listen and answer.
"""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace
from typing import Any

import pytest

from napt_lab.labs.capture.wire import CaptureIncomplete
from napt_lab.labs.matrix import trying
from napt_lab.labs.matrix.cell import Cell, Result
from napt_lab.labs.matrix.field import Field
from napt_lab.labs.matrix.napt_types import chosen
from napt_lab.labs.matrix.prediction import Method, Nat, Way, predict
from napt_lab.nat_node.core.behavior import Endpoint, parse_address
from napt_lab.nat_node.core.packet import Packet, Side
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.translator import Translator
from napt_lab.topologies.network.processes import EventLog
from napt_lab.topologies.spec.napt_settings import Behavior, PortAssignment
from napt_lab.topologies.spec.presets import PRESETS, Preset
from tests.fuzz.packets import ACK, SYN, tcp, udp

SERVER = (parse_address("198.51.100.10"), 3478)
PC, INSIDE = (parse_address("10.0.0.7"), 50_000), parse_address("10.0.0.1")
# With blocks of ports a NAPT behaves as with random ports.
ASSIGNMENTS = [each for each in PortAssignment if each is not PortAssignment.DETERMINISTIC]
NATS = [Nat(*settings) for settings in itertools.product(Behavior, Behavior, ASSIGNMENTS)]
TURNS = 5


class Host:
    """A PC behind a translator; `told` is its external endpoint towards the server."""

    def __init__(self, nat: Nat, address: str, packet) -> None:
        settings = Settings(
            external=parse_address(address),
            internal=INSIDE,
            internal_mask=0xFFFFFF00,
            mapping=nat.mapping,
            filtering=nat.filtering,
            port_assignment=nat.ports,
        )
        self.translator = Translator(settings, random.Random(1).randrange)
        self._packet = packet
        self.told = self.leave(SERVER, SYN)
        self.heard: set[Endpoint] = set()

    def leave(self, to: Endpoint, flags: int) -> Endpoint:
        """Send to an endpoint: the source with which the packet leaves the NAPT."""
        data = bytearray(self._packet(PC, to, flags))
        (sent,) = self.translator.receive(data, Side.INSIDE, 0.0).packets
        return sent.source_endpoint

    def gets(self, source: Endpoint, to: Endpoint, flags: int) -> bool:
        """Whether a packet from outside is let in."""
        data = bytearray(self._packet(source, to, flags))
        packets: list[Packet] = self.translator.receive(data, Side.OUTSIDE, 0.0).packets
        return any(packet.destination_endpoint == PC for packet in packets)


def send(x: Host, y: Host, to: Endpoint, flags: int = SYN) -> Endpoint | None:
    """A packet from x to an endpoint of y's NAPT: its source, if y gets it."""
    source = x.leave(to, flags)
    return source if y.gets(source, to, flags) else None


def meet(method: Method, a: Nat, b: Nat) -> bool:
    """Whether the two hosts come to talk, if a begins."""
    packet = tcp if method is Method.TCP else lambda source, to, _flags: udp(source, to)
    one, other = Host(a, "24.9.3.7", packet), Host(b, "203.0.113.77", packet)
    way = {Method.UDP: hear, Method.TCP: dial, Method.ICE: check}[method]
    return any(way(x, y) for x, y in [(one, other), (other, one)] * TURNS)


def hear(x: Host, y: Host) -> bool:
    """x sends to where y should be, and to where y was heard; whether both have heard."""
    for to in [y.told, *x.heard]:
        if (source := send(x, y, to)) is not None:
            y.heard.add(source)
    return bool(x.heard and y.heard)


def dial(x: Host, y: Host) -> bool:
    """x sends a SYN; y, whose port listens, answers to where it came from."""
    source = send(x, y, y.told)
    return source is not None and send(y, x, source, SYN | ACK) == y.told


def check(x: Host, y: Host) -> bool:
    """x sends checks; one succeeds if its answer comes from where it was sent (RFC 8445)."""
    for to in [y.told, *x.heard]:
        if (source := send(x, y, to)) is not None:
            y.heard.add(source)
            if send(y, x, source) == to:
                return True
    return False


@pytest.mark.parametrize("method", [Method.UDP, Method.TCP, Method.ICE])
def test_the_model_says_what_two_translators_do(method):
    otherwise = Way.RELAYED if method is Method.ICE else Way.FAILS
    wrong = [
        (a, b)
        for a, b in itertools.product(NATS, NATS)
        if predict(method, a, b).way is not (Way.DIRECT if meet(method, a, b) else otherwise)
    ]
    assert not wrong


CONES = (Preset.FULL_CONE, Preset.RESTRICTED_CONE, Preset.PORT_RESTRICTED_CONE)
FAIL = {  # the classical table (RFC 5128, section 3; Ford, Srisuresh, Kegel 2005)
    frozenset({Preset.SYMMETRIC}),
    frozenset({Preset.SYMMETRIC, Preset.PORT_RESTRICTED_CONE}),
}


def nat(preset: Preset) -> Nat:
    settings = PRESETS[preset]
    return Nat(settings.mapping, settings.filtering, settings.port_assignment)


@pytest.mark.parametrize("method", [Method.UDP, Method.TCP, Method.ICE])
def test_of_rfc_3489s_four_kinds_only_two_pairs_fail(method):
    for a, b in itertools.product((*CONES, Preset.SYMMETRIC), repeat=2):
        fails = frozenset({a, b}) in FAIL
        assert (predict(method, nat(a), nat(b)).way is Way.DIRECT) is not fails, (a, b)


ANY, ADDRESS, STRICT = Behavior
PRESERVE, _, RANDOM = ASSIGNMENTS
CONE = Nat(ANY, STRICT, RANDOM)
SYMMETRIC, SYMMETRIC_KEEPING = Nat(STRICT, STRICT, RANDOM), Nat(STRICT, STRICT, PRESERVE)
OPEN = Nat(STRICT, ANY, RANDOM)  # maps by port, lets everyone in
HOTEL = Nat(ANY, STRICT, RANDOM, blocks_udp=True)


@pytest.mark.parametrize(
    ("method", "a", "b", "way", "why"),
    [
        # A port that is kept can be told to the other side.
        (Method.UDP, SYMMETRIC_KEEPING, SYMMETRIC_KEEPING, Way.DIRECT, "for the one from which"),
        # It is not kept where the filter lets everyone in: b hears a, and cannot answer.
        (Method.UDP, CONE, OPEN, Way.FAILS, "b answers from another port, which a's filter stops"),
        # Over TCP the answer belongs to the connection; unless b has dialed before.
        (Method.TCP, CONE, OPEN, Way.DIRECT, "b's filter lets in anyone"),
        (Method.TCP, OPEN, CONE, Way.FAILS, "that session is in the way"),
        (Method.ICE, OPEN, CONE, Way.RELAYED, "no check is answered from where it was sent"),
        # Each hears the other, from ports to which nothing can be sent: no check would succeed.
        (Method.UDP, OPEN, OPEN, Way.DIRECT, "a's filter lets in anyone"),
        (Method.ICE, OPEN, OPEN, Way.RELAYED, "no check"),
        (Method.UDP, CONE, SYMMETRIC, Way.FAILS, "b sends from another port than it was told"),
        (Method.UDP, HOTEL, CONE, Way.FAILS, "a does not let UDP out"),
        (Method.ICE, CONE, HOTEL, Way.RELAYED, "the relay is reached over TCP"),
        (Method.TCP, HOTEL, CONE, Way.DIRECT, "b has opened its port"),
    ],
)
def test_subtle_cases(method, a, b, way, why):
    prediction = predict(method, a, b)
    assert prediction.way is way
    assert why in prediction.why


def test_udp_and_ice_do_not_care_who_begins():
    for method, (a, b) in itertools.product(
        (Method.UDP, Method.ICE), itertools.combinations(NATS, 2)
    ):
        assert predict(method, a, b).way is predict(method, b, a).way


class NoWire:
    """A capture of nothing."""

    def __init__(self, _net) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_error) -> None:
        pass

    def save(self, path) -> None:
        path.touch()


def test_cells_of_a_capture_with_a_gap_are_tried_in_halves(monkeypatch, tmp_path):
    monkeypatch.setattr(trying, "Wire", NoWire)
    for name in ("Ground", "take_in"):
        monkeypatch.setattr(trying, name, lambda *_: None)
    types, _ = chosen("home,symmetric", None)
    cells = [Cell(Method.UDP, a, b) for a in types for b in types]
    sizes = []

    def work(_ground, _field, batch, _progress):
        sizes.append(len(batch))
        if len(batch) > 1 or batch[0] is cells[2]:
            raise CaptureIncomplete("the capture lost 7 packets")
        return [Result(batch[0], Way.DIRECT, (), 0.0)]

    net: Any = SimpleNamespace(log=EventLog())
    field = Field(types, behind_carrier=False)
    results = trying.try_all(net, field, cells, tmp_path, lambda _: None, work)
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    assert [result.cell for result in results] == cells
    assert [result.trouble for result in results] == ["", "", "the capture lost 7 packets", ""]
    assert [path.name for path in tmp_path.iterdir()] == ["capture-udp.pcapng"]


def test_a_capture_that_could_not_be_saved_is_left_out(monkeypatch, tmp_path):
    class EndsOnce(NoWire):
        ended = False

        def save(self, path) -> None:
            if not EndsOnce.ended:
                EndsOnce.ended = True
                raise CaptureIncomplete("the capture has ended")
            super().save(path)

    joined = []
    monkeypatch.setattr(trying, "Wire", EndsOnce)
    for name in ("Ground", "take_in"):
        monkeypatch.setattr(trying, name, lambda *_: None)
    monkeypatch.setattr(trying, "join_pcapng", lambda paths, _to: joined.extend(paths))
    types, _ = chosen("home,symmetric", None)
    cells = [Cell(Method.UDP, types[0], b) for b in types]
    net: Any = SimpleNamespace(log=EventLog())
    field = Field(types, behind_carrier=False)

    def work(_ground, _field, batch, _progress):
        return [Result(cell, Way.DIRECT, (), 0.0) for cell in batch]

    results = trying.try_all(net, field, cells, tmp_path, lambda _: None, work)
    assert [result.observed for result in results] == [Way.DIRECT, Way.DIRECT]
    assert [path.name for path in joined] == [".0.pcapng", ".1.pcapng"]


def test_a_capture_that_is_found_incomplete_is_removed(monkeypatch, tmp_path):
    def take_in(*_) -> None:
        assert [path.name for path in tmp_path.iterdir()] == [".0.pcapng"]
        raise CaptureIncomplete("the capture lost 7 packets")

    monkeypatch.setattr(trying, "Wire", NoWire)
    monkeypatch.setattr(trying, "Ground", lambda *_: None)
    monkeypatch.setattr(trying, "take_in", take_in)
    (type_,), _ = chosen("home", None)
    cell = Cell(Method.UDP, type_, type_)
    net: Any = SimpleNamespace(log=EventLog())
    field = Field([type_], behind_carrier=False)
    (result,) = trying.try_all(net, field, [cell], tmp_path, lambda _: None, lambda *_: [])
    assert result.trouble == "the capture lost 7 packets"
    assert [path.name for path in tmp_path.iterdir()] == ["capture-udp.pcapng"]


def test_types_are_named_and_every_name_is_one_of_them():
    usual, _ = chosen(None, None)
    assert {type_.nat for type_ in usual} == set(NATS)
    assert len({type_.name for type_ in usual}) == len(usual) == len(NATS) + 1  # the kernel's
    (hotel,), (udp_only,) = chosen("hotel", "udp")
    assert hotel.nat.blocks_udp
    assert udp_only is Method.UDP
    for types in (list(usual), chosen(",".join(Preset), None)[0]):
        sites = Field(types, behind_carrier=False).topology.sites
        for type_, site in zip(types * 2, sites, strict=True):
            settings = site.gateway.napt
            seen = settings.mapping, settings.filtering, settings.port_assignment
            assert seen == (type_.nat.mapping, type_.nat.filtering, type_.nat.ports)
    with pytest.raises(ValueError, match=r"no type 'home2'.*did you mean 'home'"):
        chosen("full-cone,home2", None)
    with pytest.raises(ValueError, match="no method 'sctp'; allowed: udp, tcp, ice"):
        chosen(None, "sctp")
