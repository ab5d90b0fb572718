"""`preset:` in a topology file: whole behaviors under the names that people use.

RFC 3489 sorted NATs into four kinds. Its words are still on everyone's lips, although they mix
two questions that RFC 4787 keeps apart, mapping (who shares an external port?) and filtering
(who may send to it?):

    RFC 3489                 mapping                      filtering
    full cone                endpoint-independent         endpoint-independent
    restricted cone          endpoint-independent         address-dependent
    port-restricted cone     endpoint-independent         address-and-port-dependent
    symmetric                address-and-port-dependent   address-and-port-dependent

`rfc` meets what RFC 4787, 5382, 5508, 6888 and 7857 require *and* what they recommend. `level-8`
is the NAPT of the course: a rule for each connection, gone as soon as the connection is, on any
port that there is, and no word to whoever knocks outside.

A key that stands beside `preset` in the file goes before it.
"""

from __future__ import annotations

from napt_lab.topologies.spec.model import Behavior, Engine, NaptSettings, PortAssignment, Preset

_ANY = Behavior.ENDPOINT_INDEPENDENT
_ADDRESS = Behavior.ADDRESS_DEPENDENT
_BOTH = Behavior.ADDRESS_AND_PORT_DEPENDENT

PRESETS = {
    Preset.FULL_CONE: NaptSettings(mapping=_ANY, filtering=_ANY),
    Preset.RESTRICTED_CONE: NaptSettings(mapping=_ANY, filtering=_ADDRESS),
    Preset.PORT_RESTRICTED_CONE: NaptSettings(mapping=_ANY, filtering=_BOTH),
    Preset.SYMMETRIC: NaptSettings(mapping=_BOTH, filtering=_BOTH),
    # RFC 6888 prefers this filtering (REQ-7), and asks for the hold where it is used (REQ-8). With
    # the well-known ports, those who came from one get one (RFC 4787, REQ-3a), and nobody else.
    Preset.RFC: NaptSettings(
        mapping=_ANY,
        filtering=_ANY,
        port_parity=True,
        ports=range(1, 65536),
        port_hold=120.0,
    ),
    Preset.LEVEL_8: NaptSettings(
        mapping=_BOTH, filtering=_BOTH, ports=range(1, 65536), closing_hold=1.0, refuse_syn=False
    ),
}

#: What a gateway does whose file says nothing. The kernel's NAT has no choice in most of it.
USUAL = {
    Engine.PYTHON: NaptSettings(),
    Engine.NFTABLES: NaptSettings(
        mapping=_BOTH,
        filtering=_BOTH,
        port_assignment=PortAssignment.PRESERVE,
        refuse_syn=False,
    ),
}
