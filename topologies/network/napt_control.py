"""Talking to a NAPT: the control socket of `napt run`.

A Unix socket on which one JSON line asks and one answers. After `{"do": "events"}` the
translator goes on with one line for each event; these join the network's event log.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from napt_lab.topologies.network.processes import LINE_LIMIT, EventLog, parse_line

ANSWER_LIMIT = 64 << 20  # bytes: a table of 65,535 rules has about 20 million
ANSWER_SECONDS = 5.0  # how long the translator may be silent when asked
PROGRAM = "nat_node"


class ControlError(Exception):
    """The NAPT refused, in its own words, or it could not be asked."""


class NaptControl:
    """One NAPT's table, from outside."""

    def __init__(self, node: str, path: Path) -> None:
        self.node = node
        self.path = path
        self._events: socket.socket | None = None
        self._closed = False

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request and return the answer; ControlError if it is a refusal or missing."""
        with self._connect() as channel, channel.makefile("rb") as answers:
            return self._exchange(channel, answers, request)

    def rules(self) -> list[dict[str, Any]]:
        """The table: one dictionary for each rule."""
        return [rule for rule in self.ask({"do": "rules"})["rules"] if isinstance(rule, dict)]

    def add(self, protocol: str, external: str, internal: str) -> dict[str, Any]:
        """Add an explicit rule; endpoints are `address:port`."""
        request = {"do": "add", "protocol": protocol, "external": external, "internal": internal}
        return self.ask(request)

    def remove(self, protocol: str, external: str) -> dict[str, Any]:
        """Remove the explicit rule for an external endpoint."""
        return self.ask({"do": "remove", "protocol": protocol, "external": external})

    def stats(self) -> dict[str, Any]:
        """The translator's counters."""
        return self.ask({"do": "stats"})

    def subscribe(self, log: EventLog) -> None:
        """From now on, every event of this NAPT also goes to `log`. Ends with `close`.

        A translator that was killed and is started again is subscribed to again.
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
            with contextlib.suppress(OSError):  # the translator may have ended first
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
            raise ControlError(f"{self.node}: {why or 'an answer that makes no sense'}")
        return answer

    def _follow(self, events: BufferedReader, log: EventLog) -> None:
        while not self._closed:
            with contextlib.suppress(OSError, ValueError), events:  # closed under our feet
                while line := events.readline(LINE_LIMIT):
                    fields = parse_line(line)
                    if fields is not None and "event" in fields:
                        log.add(self.node, PROGRAM, fields)
            try:
                events = self._subscribe()
            except ControlError:  # nobody has taken its place
                return
