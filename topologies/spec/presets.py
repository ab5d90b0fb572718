"""`preset:` in a topology file: whole behaviors under the names that people use.

RFC 3489 sorted NATs into four kinds. People still use its names, although they mix two questions
that RFC 4787 keeps apart: mapping (which sessions share an external port?) and filtering (which
remote endpoints may send to it?):

    RFC 3489                 mapping                      filtering
    full cone                endpoint-independent         endpoint-independent
    restricted cone          endpoint-independent         address-dependent
    port-restricted cone     endpoint-independent         address-and-port-dependent
    symmetric                address-and-port-dependent   address-and-port-dependent

`rfc` does what RFC 4787, 5382, 5508, 6888 and 7857 require *and* what they recommend. `level-8` is
the NAPT of the course: a rule for each connection, which ends with the connection, on any port; an
unsolicited SYN gets no reply.

Others have the name of a place, and behave as NAPTs there commonly do: `home` keeps ports where it
can; `carrier` is a CGN (RFC 6888); `hotel` blocks UDP; `office` is symmetric, and blocks UDP except
DNS; `cloud` is symmetric and does not hairpin; `mobile` is symmetric and forgets UDP soon.

A key beside `preset` in the file overrides the preset.
"""

from __future__ import annotations

from enum import StrEnum

from napt_lab.topologies.spec.firewall import Firewall, Traffic
from napt_lab.topologies.spec.model import Engine
from napt_lab.topologies.spec.napt_settings import Behavior, NaptSettings, PortAssignment


class Preset(StrEnum):
    """Whole behaviors under the names that people use (the table above says what each means)."""

    FULL_CONE = "full-cone"
    RESTRICTED_CONE = "restricted-cone"
    PORT_RESTRICTED_CONE = "port-restricted-cone"
    SYMMETRIC = "symmetric"
    RFC = "rfc"
    LEVEL_8 = "level-8"
    HOME = "home"
    CARRIER = "carrier"
    HOTEL = "hotel"
    OFFICE = "office"
    CLOUD = "cloud"
    MOBILE = "mobile"


_ANY = Behavior.ENDPOINT_INDEPENDENT
_ADDRESS = Behavior.ADDRESS_DEPENDENT
_BOTH = Behavior.ADDRESS_AND_PORT_DEPENDENT

PRESETS = {
    Preset.FULL_CONE: NaptSettings(mapping=_ANY, filtering=_ANY),
    Preset.RESTRICTED_CONE: NaptSettings(mapping=_ANY, filtering=_ADDRESS),
    Preset.PORT_RESTRICTED_CONE: NaptSettings(mapping=_ANY, filtering=_BOTH),
    Preset.SYMMETRIC: NaptSettings(mapping=_BOTH, filtering=_BOTH),
    # RFC 6888 prefers this filtering (REQ-7), and requires the hold together with it (REQ-8). With
    # the well-known ports in the pool, a session from a well-known port, and no other, gets one
    # (RFC 4787, REQ-3a).
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
    Preset.HOME: NaptSettings(
        mapping=_ANY, filtering=_BOTH, port_assignment=PortAssignment.PRESERVE
    ),
    Preset.CARRIER: NaptSettings(
        mapping=_ANY, filtering=_ANY, port_hold=120.0, udp_idle=120.0, host_limit=1024
    ),
    Preset.HOTEL: NaptSettings(mapping=_ANY, filtering=_BOTH, hairpinning=False),
    Preset.OFFICE: NaptSettings(mapping=_BOTH, filtering=_BOTH, hairpinning=False),
    Preset.CLOUD: NaptSettings(
        mapping=_BOTH,
        filtering=_BOTH,
        hairpinning=False,
        tcp_idle=350.0,
        udp_idle=120.0,
        refuse_syn=False,
    ),
    Preset.MOBILE: NaptSettings(
        mapping=_BOTH, filtering=_BOTH, hairpinning=False, tcp_idle=1800.0, udp_idle=30.0
    ),
}

_NAMED = {
    (PRESETS[preset].mapping, PRESETS[preset].filtering): preset.value
    for preset in (
        Preset.FULL_CONE,
        Preset.RESTRICTED_CONE,
        Preset.PORT_RESTRICTED_CONE,
        Preset.SYMMETRIC,
    )
}
#: A word for each mapping and filtering: RFC 3489's four, and `MAPPING/FILTERING` for the others.
KINDS = {
    (mapping, filtering): _NAMED.get((mapping, filtering), f"{mapping}/{filtering}")
    for mapping in Behavior
    for filtering in Behavior
}

#: The firewalls that presets bring along.
FIREWALLS = {
    Preset.HOTEL: Firewall(blocks=(Traffic("udp"),)),
    Preset.OFFICE: Firewall(blocks=(Traffic("udp"),), allows=(Traffic("udp", 53),)),
}

#: The settings of a gateway without keys. Most of them are fixed in the kernel's NAT.
USUAL = {
    Engine.PYTHON: NaptSettings(),
    Engine.NFTABLES: NaptSettings(
        mapping=_BOTH,
        filtering=_BOTH,
        port_assignment=PortAssignment.PRESERVE,
        refuse_syn=False,
    ),
}
