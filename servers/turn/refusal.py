"""How a check of the RFCs ends a request: with an error code and what must go with it."""

from __future__ import annotations

from napt_lab.servers.turn.stun import Attributes


class Refused(Exception):
    """Answer the request with this error code and these attributes."""

    def __init__(self, code: int, attributes: Attributes | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.attributes = attributes or []
