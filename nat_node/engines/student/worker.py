"""The process that has a student's file in it: one question in, an answer out.

    python -m napt_lab.nat_node.engines.student.worker LINK TRACES

(two descriptors; process.py starts it).

What the student's functions return is taken apart here, what they do wrong is told, and what they
print. A rule's story is put together from what was seen of each packet before and after.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import socket
import sys
import time
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from napt_lab.nat_node.control.control_protocol import Described, answer
from napt_lab.nat_node.core.behavior import show_address
from napt_lab.nat_node.core.events import describe
from napt_lab.nat_node.core.mapping import MADE_BY
from napt_lab.nat_node.core.packet import PROTOCOL_NAMES, TCP, Malformed, Side
from napt_lab.nat_node.core.packet import Packet as RawPacket
from napt_lab.nat_node.core.settings import Settings, not_ours
from napt_lab.nat_node.core.verdict import Drop
from napt_lab.nat_node.engines.student import channel, imports, inspection, listing, wall
from napt_lab.nat_node.engines.student.bounds import LINE, LINES, Said, Stopwatch, confine
from napt_lab.nat_node.engines.student.faults import OPTIONAL, LoadError, Overrun, examine, explain
from napt_lab.nat_node.engines.student.host import answer_as_host
from napt_lab.student.napt import Rule, napt
from napt_lab.student.packet import Endpoint, Packet, Refusal

REASON = 60  # characters of a drop's reason

_MEANING = {drop.label: drop.meaning for drop in Drop}
_FAULTY = "translator-error"
_MISSING = {
    "add_rule": "{} has no function add_rule(rule, now), which explicit rules need",
    "remove_rule": "{} has no function remove_rule(rule), which explicit rules need",
}


def main(link: socket.socket, traces: int) -> NoReturn:
    """Become the worker: load a file behind the wall, and answer until the node is gone.

    `traces`: where faulthandler writes, on SIGUSR1, what is being done.
    """
    frames, stopwatch = channel.Frames(link), Stopwatch()
    with contextlib.suppress(channel.Lost, BrokenPipeError):
        try:
            if child := wall.separate():
                link.sendall(channel.told(channel.BORN, child))
                os._exit(0)
            settings, file, source = channel.started(frames.one()[1])
            confine(link.fileno(), traces)
            stopwatch.start()
            wall.enter()
            imports.restrict()
            link.sendall(channel.told(channel.WALLED_IN, None))
        except wall.WallError as error:
            link.sendall(channel.told(channel.WALLED_OUT, str(error)))
            os._exit(0)
        napt.configure(settings)
        worker = Worker(link, settings, file, stopwatch)
        if worker.load(source):
            worker.serve(frames)
    os._exit(0)


class Worker:
    """Answers what the node asks."""

    def __init__(
        self, link: socket.socket, settings: Settings, file: Path, stopwatch: Stopwatch
    ) -> None:
        self._link = link
        self._settings = settings
        self._file = file
        self._out = bytearray()
        self._module: ModuleType | None = None
        self._watched = False
        self._faults = 0
        self._told: set[str] = set()
        self._stopwatch = stopwatch
        self._times = 0.0, 0.0  # of the last request: monotonic, and since 1970

    # -- the file -----------------------------------------------------------------------------

    def load(self, source: bytes) -> bool:
        """Run the student's file; READY tells which functions it has, or FAULT why it has none."""
        sys.stdout = sys.stderr = Said(self._print)
        sys.stdin = io.StringIO()
        functions: list[str] | None = None
        try:
            self._module = self._run_file(source)
            functions = [name for name in OPTIONAL if self._function(name)]
            self._say(channel.told(channel.READY, functions))
        except LoadError as error:
            self._say(channel.told(channel.FAULT, {"text": str(error)}))
        self._send()
        return functions is not None

    def _run_file(self, source: bytes) -> ModuleType:
        file = self._file
        code = examine(source, file)
        lines = source.decode(errors="replace").splitlines(keepends=True)
        linecache.cache[str(file)] = (len(source), None, lines, str(file))  # there is no file here
        module = ModuleType("student_translator")
        module.__file__ = str(file)
        sys.modules[module.__name__] = module
        try:
            exec(code, module.__dict__)
        except BaseException as error:  # noqa: BLE001  # a student's file raises anything; reported
            doing = f"{file}:1: running the file"
            raise LoadError(explain(error, file, doing, quote=False)) from None
        if not callable(getattr(module, "translate", None)):
            raise LoadError(f"{file}:1: there is no function translate(packet, now)")
        return module

    def _function(self, name: str) -> Callable[..., Any] | None:
        found = getattr(self._module, name, None)
        return found if callable(found) else None

    # -- questions ----------------------------------------------------------------------------

    def serve(self, frames: channel.Frames) -> NoReturn:
        """Answer until the node is gone. Raises channel.Lost then."""
        while True:
            frames.receive()
            for kind, body in frames.whole():
                faults = self._faults
                try:
                    self._answer(kind, body)
                except Exception as error:  # noqa: BLE001  # what a student's file left here; reported
                    self._stumble(kind, error)
                self._say(channel.frame(channel.DONE))
                if self._faults != faults:
                    self._send()  # the next one may be the last
            self._send()

    def _answer(self, kind: int, body: bytes) -> None:
        if kind == channel.PACKET:
            self._packet(body)
        elif kind == channel.WATCH:
            self._watched = bool(body[0])
        else:
            now, wall, rest = channel.unstamp_times(body)
            napt.rules.now, napt.rules.packet = now, None
            if kind == channel.TICK:
                self._call("expire", now)
            else:
                self._times = now, wall
                said = answer(channel.read(rest), self)
                self._say(channel.told(channel.ANSWER, said))
        self._tell_news()

    def _stumble(self, kind: int, error: Exception) -> None:
        what = "a rule or a packet has been made unreadable"
        text = f"{self._file.name}: {what}: {type(error).__name__}: {error}"
        self._fault(text, kind=text)
        if kind == channel.REQUEST:
            self._say(channel.told(channel.ANSWER, {"ok": False, "error": text}))

    def _tell_news(self) -> None:
        rules = napt.rules
        news, rules.news = rules.news, []
        if self._watched:
            wall = time.time()
            for rule, why in news:
                event = listing.news(rule, why, rules.now, wall)
                self._say(channel.told(channel.EVENT, event))

    # -- packets ------------------------------------------------------------------------------

    def _packet(self, body: bytes) -> None:
        inside, now, data = channel.unstamp_packet(body)
        side = Side.INSIDE if inside else Side.OUTSIDE
        try:
            raw = RawPacket(data, side)
        except Malformed as error:
            self._drop(Drop.MALFORMED.label, Drop.MALFORMED.meaning, str(error), side)
            return
        own = answer_as_host(raw, self._settings)
        if own is not None:
            self._say(channel.frame(channel.SEND, bytes(own.data)))
            return
        packet = Packet(raw, self._settings.internal)
        before = packet.source, packet.destination

        def was() -> str:
            return describe(RawPacket(channel.unstamp_packet(body)[2]))

        rules = napt.rules
        rules.now = now
        rules.packet = (MADE_BY.get(raw.protocol, f"protocol {raw.protocol}"), before[1])
        failed, result = self._call("translate", packet, now)
        if failed:
            self._drop(_FAULTY, failed, was(), side)
            return
        packets, reason = self._understand(result, was)
        for one in packets:
            self._inspect(one, was)
            self._say(channel.frame(channel.SEND, bytes(one.data)))
            if one is raw:
                self._observe(packet, *before)
        if reason:
            label, _, words = (part.strip() for part in reason.partition(":"))
            meaning = words or _MEANING.get(label, label)
            self._hint_at_reason(label)
            in_own_words = label != _FAULTY and bool(words or label not in _MEANING)
            self._drop(label[:REASON], meaning[:LINE], was(), side, own=in_own_words)

    def _understand(self, result: object, was: Callable[[], str]) -> tuple[list[RawPacket], str]:
        """What translate returned: packets to send, and why the packet itself is dropped."""
        match result:
            case Packet():
                return [result.raw], ""
            case Refusal(reason, error):
                return [error] if error is not None else [], str(reason)
            case str() if result.strip():
                return [], result
            case list() | tuple() if result and all(isinstance(one, Packet) for one in result):
                return [one.raw for one in result], ""
        shown = "nothing (None)" if result is None else repr(result)[:LINE]
        text = (
            f"translate returned {shown} for {was()}; it returns the packet to send it, "
            "or the reason to drop it, such as 'no-rule'"
        )
        self._fault(f"{self._file.name}: {text}", kind=shown[:20])
        return [], f"{_FAULTY}: {text}"

    def _hint_at_reason(self, label: str) -> None:
        """Labs look for the first word of a reason, so a word that is nearly right is wrong."""
        if label in _MEANING:
            return
        near = get_close_matches(label.lower().replace(" ", "-"), _MEANING, n=1)
        if near:
            text = f"the reason {label!r} is not known to labs: did you mean '{near[0]}'?"
            self._fault(f"{self._file.name}: {text}", kind=label)

    def _inspect(self, packet: RawPacket, was: Callable[[], str]) -> None:
        for problem in inspection.problems(packet.data, packet.side, self._settings):
            self._fault(
                f"{self._file.name}: translate returned a bad packet for {was()}: {problem}",
                kind=problem[:20],
            )

    @staticmethod
    def _observe(packet: Packet, source: Endpoint, destination: Endpoint) -> None:
        """Whose rule was used: told by what was rewritten."""
        raw = packet.raw
        flags = raw.tcp_flags if raw.protocol == TCP and raw.has_tcp_flags else None
        now_from, now_to = packet.source, packet.destination
        observe = partial(napt.rules.observe, packet.protocol, size=len(raw.data), flags=flags)
        if now_from != source:
            observe(source, now_from, destination, out=True)
        if now_to != destination:
            observe(now_to, destination, now_from, out=False)

    def _drop(
        self, label: str, meaning: str, packet: str, side: Side, *, own: bool = False
    ) -> None:
        """Tell a drop. `own`: in words of the student's own."""
        fields = {"reason": label, "meaning": meaning, "packet": packet, "side": side.value}
        self._say(channel.told(channel.DROP, {**fields, "own": own}))

    # -- what a control client asks for (control_protocol.Engine) -----------------------------

    def list_rules(self, limit: int) -> tuple[int, list[Described]]:
        """How many rules there are, and at most `limit` of them."""
        return len(napt.rules), [self._describe(rule) for rule in islice(napt.rules, limit)]

    def list_ports(self) -> dict[str, str]:
        """No translator of a student's is asked for this. Raises ValueError."""
        raise ValueError("this engine lists rules, not ports")

    def add_rule(
        self, protocol: int, external: tuple[int, int], internal: tuple[int, int]
    ) -> Described:
        """Have the student's translator add an explicit rule. Raises ValueError."""
        self._must_be_ours(external)
        outside = Endpoint(napt.external, external[1])
        rule = Rule(PROTOCOL_NAMES[protocol], outside, outside, explicit=True)
        rule.internal = Endpoint(show_address(internal[0]), internal[1])
        self._must(self._call("add_rule", rule, self._times[0])[0])
        if rule not in napt.rules:
            napt.rules.add(rule)
        return self._describe(rule)

    def remove_rule(self, protocol: int, external: tuple[int, int]) -> Described:
        """Have the student's translator remove an explicit rule. Raises ValueError."""
        self._must_be_ours(external)
        name, port = PROTOCOL_NAMES[protocol], external[1]
        rule = napt.rules.explicit(name, port)
        if rule is None:
            raise ValueError(f"there is no explicit rule for {name} port {port}")
        self._must(self._call("remove_rule", rule)[0])
        if rule in napt.rules:
            napt.rules.remove(rule, "removed")
        return self._describe(rule)

    def _must_be_ours(self, external: tuple[int, int]) -> None:
        if external[0] not in self._settings.ours:
            raise ValueError(not_ours(external[0], self._settings))

    def flush(self) -> int:
        """Raises ValueError: what the student's file remembers is its own."""
        raise ValueError("a translator of your own cannot be told to forget; reboot it")

    def change(self, changes: dict[str, str]) -> None:
        """Refuse: raises ValueError."""
        raise ValueError(f"a translator of your own cannot change {', '.join(changes)}")

    def stats(self) -> dict[str, Any]:
        """Counts of the rules; a rule is a session here."""
        return {"rules": len(napt.rules), "sessions": len(napt.rules)}

    def _describe(self, rule: Rule) -> Described:
        return listing.describe(rule, *self._times)

    @staticmethod
    def _must(failed: str) -> None:
        if failed:
            raise ValueError(failed)

    # -- the student's functions --------------------------------------------------------------

    def _call(self, name: str, *arguments: object) -> tuple[str, Any]:
        """Call a function of the student's. Returns what went wrong, and what it returned."""
        function = self._function(name)
        if function is None:
            return _MISSING.get(name, "").format(self._file.name), None
        try:
            return "", self._stopwatch.time(function, *arguments)
        except ValueError as refusal:
            if name in ("add_rule", "remove_rule"):
                return str(refusal) or "refused", None
            return self._failed(refusal, name), None
        except BaseException as error:  # noqa: BLE001  # a student's file raises anything; reported
            return self._failed(error, name), None

    def _failed(self, error: BaseException, name: str) -> str:
        text = explain(error, self._file, name)
        kind = f"{text.splitlines()[:-1]} {type(error).__name__}"
        self._fault(text, kind=kind, overrun=isinstance(error, Overrun))
        lines = text.splitlines()
        return f"{lines[-3]}: {lines[-1]}" if len(lines) >= 3 else text

    def _fault(self, text: str, *, kind: str, overrun: bool = False) -> None:
        """Tell what is wrong; of a kind that was told already only if it took too long again."""
        self._faults += 1
        if overrun or (kind not in self._told and len(self._told) < LINES):
            self._told.add(kind)
            self._say(channel.told(channel.FAULT, {"text": text, "overrun": overrun}))

    # -- the node -----------------------------------------------------------------------------

    def _print(self, line: str) -> None:
        """At once: the student may want to know how far it came."""
        self._say(channel.told(channel.PRINTED, {"text": line}))
        self._send()

    def _say(self, frame: bytes) -> None:
        self._out += frame

    def _send(self) -> None:
        self._link.sendall(self._out)
        self._out.clear()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
