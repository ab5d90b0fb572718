"""How a check of the RFCs ends a request: by an error response."""

from __future__ import annotations

from napt_lab.servers.stun.stun_message import Attributes


class Refused(Exception):
    """The request fails a check of the RFCs: answer with this error code and these attributes.

    `reason` says why, for the server's log. It is empty where the refusal is the normal course
    (a challenge), and where nothing proves the client's address: a flood must not fill the log.
    """

    def __init__(self, code: int, reason: str = "", attributes: Attributes | None = None) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.attributes = attributes or []
