"""The messages of NAT-PMP, version 0 (RFC 6886, section 3).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |   Vers = 0    |  OP (+ 128)   |  Reserved / Result Code       |
    +---------------+---------------+-------------------------------+
    |  only in responses: Seconds Since Start of Epoch              |
    +-------------------------------+-------------------------------+
    |  Internal Port                |  External Port                |
    +-------------------------------+-------------------------------+
    |  Port Mapping Lifetime in Seconds                             |
    +---------------------------------------------------------------+

Operation 0 asks for the external address alone; 1 maps a UDP port, 2 a TCP port. There is no
nonce: a program that can send from an address may change all rules asked for from it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from napt_lab.nat_node.core.packet import TCP, UDP
from napt_lab.nat_node.port_control.pcp import Result

VERSION = 0
IS_RESPONSE = 0x80
ADDRESS = 0
PROTOCOLS = {1: UDP, 2: TCP}

_REQUEST = struct.Struct("!BBxxHHI")
_RESPONSE = struct.Struct("!BBHIHHI")
_ADDRESS = struct.Struct("!BBHII")


class Code(IntEnum):
    """Result codes (section 3.5)."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


#: PCP's words for what may happen to a request, in the fewer words of NAT-PMP.
CODES = {
    Result.SUCCESS: Code.SUCCESS,
    Result.NOT_AUTHORIZED: Code.NOT_AUTHORIZED,
    Result.NO_RESOURCES: Code.OUT_OF_RESOURCES,
    Result.USER_EX_QUOTA: Code.OUT_OF_RESOURCES,
}


@dataclass(frozen=True, slots=True)
class MapRequest:
    """A request for a mapping. The lifetime is in seconds; 0 deletes."""

    operation: int
    internal_port: int
    suggested_port: int
    lifetime: int

    @property
    def protocol(self) -> int:
        """The IP protocol number that the operation stands for."""
        return PROTOCOLS[self.operation]


def read_map(data: bytes) -> MapRequest | None:
    """A request for a mapping; None if it is too short."""
    if len(data) < _REQUEST.size:
        return None
    _, operation, internal, external, lifetime = _REQUEST.unpack_from(data)
    return MapRequest(operation, internal, external, lifetime)


def mapping(request: MapRequest, result: Result, port: int, lifetime: int, epoch: int) -> bytes:
    """The response to a request for a mapping; port and lifetime are 0 if there is none."""
    return _RESPONSE.pack(
        VERSION, request.operation | IS_RESPONSE, CODES[result], epoch,
        request.internal_port, port, lifetime,
    )  # fmt: skip


def external_address(external: int, epoch: int) -> bytes:
    """The external address, asked for or announced."""
    return _ADDRESS.pack(VERSION, ADDRESS | IS_RESPONSE, Code.SUCCESS, epoch, external)


def unsupported(data: bytes) -> bytes:
    """The whole request comes back when its operation is not known."""
    answer = bytearray(data)
    answer += bytes(max(0, 4 - len(answer)))
    answer[1] |= IS_RESPONSE
    answer[2:4] = Code.UNSUPPORTED_OPCODE.to_bytes(2, "big")
    return bytes(answer)
