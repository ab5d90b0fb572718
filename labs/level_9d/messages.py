"""PCP messages as they passed a wire (RFC 6887, sections 7 and 11), read for evidence.

The lab has a reader of its own, so that a mistake in the server's or the client's would be seen.
NAT-PMP's messages have another version, and are skipped.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from napt_lab.labs.capture.wire import Captured

PORT = 5351
PCP = 2  # the version
SUCCESS, NOT_AUTHORIZED, CANNOT_PROVIDE_EXTERNAL = 0, 2, 11
RESULTS = {SUCCESS: "SUCCESS", NOT_AUTHORIZED: "NOT_AUTHORIZED",
           CANNOT_PROVIDE_EXTERNAL: "CANNOT_PROVIDE_EXTERNAL"}  # fmt: skip
_OPCODES = {0: "ANNOUNCE", 1: "MAP", 2: "PEER"}
_HEADER = struct.Struct("!BBxBII12x")
_MAP = struct.Struct("!12sBxxxHH16x")


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Times are in seconds; `epoch` means something in answers only."""

    captured: Captured
    version: int
    is_answer: bool
    opcode: int
    result: int
    lifetime: int
    epoch: int
    nonce: str = ""
    internal_port: int = 0
    external_port: int = 0

    def __str__(self) -> str:
        packet = self.captured.packet
        words = f"{packet.from_} → {packet.to} {_OPCODES.get(self.opcode, self.opcode)}"
        if self.nonce:
            words += f" {self.internal_port}→{self.external_port or 'any'} nonce {self.nonce[:8]}…"
        words += f" for {self.lifetime} s"
        if self.is_answer:
            words += f": {RESULTS.get(self.result, self.result)}, epoch {self.epoch}"
        return words


def read(captured: Captured) -> Message | None:
    """The message in a captured packet to or from port 5351; None if it is not a PCP message."""
    frame = captured.data
    start = 14 + (frame[14] & 0x0F) * 4 + 8
    if len(frame) < start + _HEADER.size or frame[start] != PCP:
        return None
    version, opcode, result, lifetime, epoch = _HEADER.unpack_from(frame, start)
    is_answer, opcode = bool(opcode & 0x80), opcode & 0x7F
    common = (captured, version, is_answer, opcode, result, lifetime, epoch)
    if opcode != 1 or len(frame) < start + _HEADER.size + _MAP.size:
        return Message(*common)
    nonce, _, internal, external = _MAP.unpack_from(frame, start + _HEADER.size)
    return Message(*common, nonce.hex(), internal, external)
