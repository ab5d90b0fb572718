"""Asks a NAPT through the control socket of `napt run`.

The control socket is a Unix socket: one JSON line is the request, one the answer. After
`{"do": "events"}` the translator sends a line for each event; these are added to the network's
event log.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from napt_lab.topologies.network.processes import LINE_LIMIT, EventLog, parse_line

ANSWER_LIMIT = 64 << 20  # bytes: a table of 65,535 rules has about 20 million
ANSWER_SECONDS = 5.0  # time for the translator to answer
PROGRAM = "nat_node"


class ControlError(Exception):
    """The NAPT refused a request (the message is its own), or did not answer."""


def _words(rule: Sequence[str], form: str) -> list[str]:
    """The parts of a rule, which may be one text; ValueError unless they are those of `form`."""
    words = rule[0].replace("->", " ").split() if len(rule) == 1 else list(rule)
    if len(words) != len(form.replace("->", " ").split()):
        raise ValueError(f"{' '.join(rule)!r} is not a rule; allowed: as in {form!r}")
    return words


class NaptControl:
    """The control of one NAPT."""

    def __init__(self, node: str, path: Path) -> None:
        self.node = node
        self.path = path
        self._events: socket.socket | None = None
        self._closed = False

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer; ControlError if it is refused or not answered."""
        with self._connect() as channel, channel.makefile("rb") as answers:
            return self._exchange(channel, answers, request)

    def rules(self) -> list[dict[str, Any]]:
        """The rules, each as a dictionary."""
        return [rule for rule in self.ask({"do": "rules"})["rules"] if isinstance(rule, dict)]

    def add(self, *rule: str) -> dict[str, Any]:
        """Add an explicit rule: "tcp 8080 -> 10.0.0.7:8080", as one text or as several.

        The external endpoint is a port or `address:port`. ControlError if the NAPT refuses it.
        """
        protocol, external, internal = _words(rule, "tcp 8080 -> 10.0.0.7:8080")
        request = {"do": "add", "protocol": protocol, "external": external, "internal": internal}
        return self.ask(request)

    def remove(self, *rule: str) -> dict[str, Any]:
        """Remove the explicit rule for an external endpoint: "tcp 8080", as one text or two."""
        protocol, external = _words(rule, "tcp 8080")
        return self.ask({"do": "remove", "protocol": protocol, "external": external})

    def flush(self) -> int:
        """End all sessions, and with them all rules but the explicit ones; how many sessions."""
        return int(self.ask({"do": "flush"})["ended"])

    def stats(self) -> dict[str, Any]:
        """The translator's counters."""
        return self.ask({"do": "stats"})

    def subscribe(self, log: EventLog) -> None:
        """Copy every event of this NAPT to `log` until `close`.

        If the translator is killed and started again, this continues with the new one.
        """
        self._closed = False
        events = self._subscribe()
        follower = threading.Thread(
            target=self._follow, args=(events, log), name=f"{self.node}-events", daemon=True
        )
        follower.start()

    def close(self) -> None:
        """End the subscription."""
        self._closed = True
        if self._events is not None:
            with contextlib.suppress(OSError):  # the translator may have ended already
                self._events.shutdown(socket.SHUT_RDWR)
            self._events.close()
            self._events = None

    def _subscribe(self) -> BufferedReader:
        channel = self._connect()
        events = channel.makefile("rb")
        try:
            self._exchange(channel, events, {"do": "events"})
        except ControlError:
            events.close()
            channel.close()
            raise
        channel.settimeout(None)
        self._events = channel
        return events

    def _connect(self) -> socket.socket:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.settimeout(ANSWER_SECONDS)
        try:
            channel.connect(str(self.path))
        except OSError as error:
            channel.close()
            raise ControlError(f"{self.node}: no translator at {self.path}: {error}") from error
        return channel

    def _exchange(
        self, channel: socket.socket, answers: BufferedReader, request: Mapping[str, Any]
    ) -> dict[str, Any]:
        try:
            channel.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(answers.readline(ANSWER_LIMIT))
        except (OSError, ValueError) as error:
            raise ControlError(f"{self.node}: no answer to {request['do']}: {error}") from error
        if not isinstance(answer, dict) or not answer.get("ok"):
            why = answer.get("error") if isinstance(answer, dict) else None
            raise ControlError(f"{self.node}: {why or 'the answer is not valid'}")
        return answer

    def _follow(self, events: BufferedReader, log: EventLog) -> None:
        while True:
            with contextlib.suppress(OSError, ValueError), events:  # closed by `close`
                while line := events.readline(LINE_LIMIT):
                    fields = parse_line(line)
                    if fields is not None and "event" in fields:
                        log.add(self.node, PROGRAM, fields)
            if self._closed:
                return
            try:
                events = self._subscribe()
            except ControlError:  # the translator has ended
                return
