"""Which rows the bench has, and the order in which they are measured.

Within a row the engines take turns, A B A B: whatever else the machine does meets both.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from napt_lab.labs.bench import starting
from napt_lab.labs.bench.figure_table import table
from napt_lab.labs.bench.figures import (
    CARRIED,
    COTURN,
    DIRECT,
    KERNEL,
    MININET,
    MININET_NAT,
    OURS,
    PASTA,
    SCAPY,
    SLIRP,
    Bound,
    Row,
    Target,
)
from napt_lab.labs.bench.relaying import SERVERS, Relaying
from napt_lab.labs.bench.starting import Built
from napt_lab.labs.bench.traffic import (
    MANY_RULES,
    BenchError,
    Traffic,
    put_mininets_nat_in_place,
    put_scapy_in_place,
)
from napt_lab.labs.course.registry import LABS
from napt_lab.labs.setup.bootstrap import give_to_owner
from napt_lab.labs.verdict.exit_status import exit_status
from napt_lab.topologies.network.build_error import BuildError
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.processes import DeadlinePassed, ProgramEnded
from napt_lab.topologies.spec.checkout import ROOT, TOPOLOGIES
from napt_lab.topologies.spec.loader import MAX_NODES, load

RESULT = ROOT / "bench.json"
FEW = "python, few rules"
OWN, IN_KERNEL = "python, its own code", "the kernel, on its behalf"
HOSTS = (10, 100, 500, MAX_NODES - 3)  # the last with a gateway, a server and the router
NAPTS, BEHIND = 50, 500
FLOODS = (20_000, 80_000)  # unauthenticated requests a second
SENTENCES = (10, 100, 400)
PEERS = ("passt", "slirp4netns", "iptables", "mininet", "coturn")  # packages


BOTH = (OURS, KERNEL)
THREE = (OURS, CARRIED, KERNEL)
ALL = (*THREE, MININET_NAT, PASTA, SLIRP, SCAPY)
STREAM_TARGETS = (
    Target(Bound.RATIO_AT_LEAST, 0.85, KERNEL),
    Target(Bound.RATIO_AT_LEAST, 1.0, KERNEL, CARRIED),
)
EIGHT_TARGETS = (Target(Bound.RATIO_AT_LEAST, 0.6, KERNEL),)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: what it is called while it runs, and the work."""

    title: str
    work: Callable[[], None]


class Suite:
    """The rows, filled as the steps are carried out."""

    def __init__(self, seconds: float, rounds: int) -> None:
        self.seconds = seconds
        self.rounds = rounds
        self.rows: list[Row] = []

    def row(self, key: str, title: str, unit: str, *targets: Target, less: bool = False) -> Row:
        row = Row(key, title, unit, not less, targets)
        self.rows.append(row)
        return row

    # -- traffic ------------------------------------------------------------------------------

    def traffic_steps(self, traffic: Traffic) -> Iterator[Step]:
        """Everything that goes through the translators."""
        seconds = self.seconds
        for key, title, options, engines, targets in (
            ("tcp-up", "one TCP stream, up", [], ALL, STREAM_TARGETS),
            ("tcp-down", "one TCP stream, down", ["-R"], ALL, STREAM_TARGETS),
            ("tcp-both", "one TCP stream each way", ["--bidir"], THREE, ()),
            ("tcp-8", "8 TCP streams, up", ["-P", "8"], THREE, EIGHT_TARGETS),
        ):
            row = self.row(key, title, "Gbit/s", *targets)

            def stream(engine: str, row: Row = row, options: list[str] = options) -> None:
                row.add(engine, traffic.stream(engine, seconds, *options))

            yield from self._in_turns(row, engines, stream)
        udp = self.row(
            "udp-64", "64-byte UDP packets that arrive", "packets/s",
            Target(Bound.RATIO_AT_LEAST, 0.85, KERNEL),
            Target(Bound.RATIO_AT_LEAST, 1.0, KERNEL, CARRIED),
        )  # fmt: skip

        def datagrams(engine: str) -> None:
            rate, lost = traffic.datagrams(engine, seconds)
            udp.add(engine, rate)
            udp.notes[engine] = f"{lost:.0%} of what was sent is lost"

        yield from self._in_turns(udp, ALL, datagrams)
        middle = self.row(
            "latency-p50", "request and response, p50", "µs",
            Target(Bound.ADDED_AT_MOST, 45, KERNEL),
            Target(Bound.ADDED_AT_MOST, 10, KERNEL, CARRIED), less=True,
        )  # fmt: skip
        tail = self.row(
            "latency-p99", "request and response, p99", "µs",
            Target(Bound.RATIO_AT_MOST, 2.0, KERNEL), less=True,
        )  # fmt: skip

        def latency(engine: str) -> None:
            times = traffic.latency(engine, seconds)
            middle.add(engine, times["p50"])
            tail.add(engine, times["p99"])

        yield from self._in_turns(middle, ALL, latency)
        opened = self.row(
            "connections", "new TCP connections", "/s",
            Target(Bound.RATIO_AT_LEAST, 0.8, KERNEL), Target(Bound.RATIO_AT_LEAST, 0.45, DIRECT),
            Target(Bound.RATIO_AT_LEAST, 1.0, OURS, CARRIED),
        )  # fmt: skip
        yield from self._in_turns(
            opened,
            (*THREE, DIRECT),
            lambda engine: opened.add(engine, traffic.connections(engine, seconds)),
        )
        cost = self.row(
            "connection-cost", "processor time of a new TCP connection", "µs", less=True
        )

        def profile(_: str) -> None:
            for part, microseconds in zip(
                (OWN, IN_KERNEL), traffic.connection_cost(seconds), strict=True
            ):
                cost.add(part, microseconds)

        yield from self._in_turns(cost, [OURS], profile)
        yield from self._relaying(Relaying(traffic))
        yield from self._many_rules(traffic)

    def _relaying(self, relaying: Relaying) -> Iterator[Step]:
        half, all_of_it = (Target(Bound.RATIO_AT_LEAST, part, COTURN) for part in (0.5, 1.0))
        for size in (64, 1000):
            row = self.row(
                f"turn-udp-{size}", f"TURN: {size} bytes of channel data, UDP", "packets/s", half
            )

            def datagrams(engine: str, row: Row = row, size: int = size) -> None:
                rate, lost = relaying.datagrams(engine, self.seconds, size)
                row.add(engine, rate)
                row.notes[engine] = f"{rate * size / 1e6:.0f} MB/s, {lost:.0%} is lost"

            yield from self._in_turns(row, SERVERS, datagrams)
        stream = self.row(
            "turn-tcp", "TURN: one connection to a peer, TCP", "Gbit/s",
            Target(Bound.RATIO_AT_LEAST, 0.8, COTURN),
        )  # fmt: skip
        yield from self._in_turns(
            stream,
            SERVERS,
            lambda engine: stream.add(engine, relaying.stream(engine, self.seconds)),
        )
        for rate in FLOODS:
            flooded = self.row(
                f"turn-flood-{rate}",
                f"TURN: what arrives of a client's data, flooded with {rate:,} requests/s",
                "part", all_of_it,
            )  # fmt: skip

            def under_flood(engine: str, row: Row = flooded, rate: int = rate) -> None:
                arrived, real_rate = relaying.under_flood(engine, self.seconds, rate)
                row.add(engine, arrived)
                row.notes[engine] = f"{real_rate:,.0f} requests/s were sent"

            yield from self._in_turns(flooded, SERVERS, under_flood)

    def _many_rules(self, traffic: Traffic) -> Iterator[Step]:
        cost = self.row(
            "processor-time", f"processor time of a packet among {MANY_RULES:,} rules", "µs",
            Target(Bound.RATIO_AT_MOST, 1.1, FEW), less=True,
        )  # fmt: skip
        memory = self.row(
            "memory", "memory of 1,000 rules", "MB", Target(Bound.VALUE_AT_MOST, 120 / 65.535),
            less=True,
        )  # fmt: skip
        many = self.row(
            "connections-60000", f"new TCP connections among {MANY_RULES:,} rules", "/s",
            Target(Bound.RATIO_AT_LEAST, 0.9, FEW),
        )  # fmt: skip

        def measure_cost(engine: str) -> None:
            cost.add(engine, traffic.processor_time(self.seconds))

        def connect(engine: str) -> None:
            many.add(engine, traffic.connections(OURS if engine == FEW else engine, self.seconds))

        yield from self._in_turns(cost, [FEW], measure_cost)
        yield from self._in_turns(many, [FEW], connect)

        def fill(engine: str) -> None:
            rules, held = traffic.rules(), traffic.memory()
            traffic.fill(engine)
            if engine == OURS:
                made = traffic.rules() - rules
                memory.add(OURS, (traffic.memory() - held) / 1e6 / made * 1000)

        for engine in BOTH:
            yield Step(f"{MANY_RULES:,} rules: {engine}", partial(fill, engine))
        yield from self._in_turns(cost, [OURS], measure_cost)
        yield from self._in_turns(many, BOTH, connect)

    # -- starting -----------------------------------------------------------------------------

    def starting_steps(self) -> Iterator[Step]:
        """Everything that is waited for before a first packet."""
        usage = self.row("help", "napt --help", "s", Target(Bound.VALUE_AT_MOST, 0.15), less=True)
        command = (sys.executable, "-m", "napt_lab.nat_node", "--help")
        yield from self._in_turns(
            usage, [OURS], lambda engine: usage.add(engine, starting.timed(*command))
        )
        start = self.row(
            "start", "two sites, command to first packet", "s", Target(Bound.VALUE_AT_MOST, 1.0),
            less=True,
        )  # fmt: skip
        two_sites = TOPOLOGIES / "two-sites.yaml"
        yield from self._in_turns(
            start, [OURS], lambda engine: start.add(engine, starting.first_packet(two_sites))
        )
        for count in HOSTS:
            row = self.row(
                f"hosts-{count}", f"{count} hosts, built and taken down", "s",
                Target(Bound.RATIO_AT_MOST, 1.0, MININET), less=True,
            )  # fmt: skip
            memory = self.row(f"memory-{count}", f"memory of {count} hosts", "MB", less=True)
            ways: dict[str, Callable[[int], Built]] = {OURS: starting.many_hosts}
            if shutil.which("mn") and shutil.which("brctl"):  # its Linux bridge needs both
                ways[MININET] = starting.many_hosts_of_mininet

            def build(
                engine: str,
                row: Row = row,
                memory: Row = memory,
                count: int = count,
                ways: dict[str, Callable[[int], Built]] = ways,
            ) -> None:
                seconds, megabytes = ways[engine](count)
                row.add(engine, seconds)
                memory.add(engine, megabytes)

            yield from self._in_turns(row, list(ways), build, rounds=1)
        behind = self.row(
            f"napts-{NAPTS}", f"{BEHIND} hosts behind {NAPTS} NAPTs, built and taken down", "s",
            Target(Bound.VALUE_AT_MOST, 8), less=True,
        )  # fmt: skip
        yield from self._in_turns(
            behind,
            [OURS],
            lambda engine: behind.add(engine, starting.many_hosts(BEHIND, NAPTS).seconds),
            rounds=1,
        )

        for count in SENTENCES:
            row = self.row(
                f"check-{count}", f"`check` of {count} sentences", "s",
                *([Target(Bound.VALUE_AT_MOST, 20)] if count == max(SENTENCES) else []), less=True,
            )  # fmt: skip

            def check(engine: str, row: Row = row, count: int = count) -> None:
                row.add(engine, starting.check(count))

            yield from self._in_turns(row, [OURS], check, rounds=1)

    def lab_steps(self) -> Iterator[Step]:
        """Every level from its command to its end, as `make labs` plays them."""
        row = self.row("labs", "all levels, one after another", "s", less=True)
        took: dict[str, float] = {}

        def play(lab: str) -> None:
            took[lab] = starting.timed(sys.executable, "-m", "napt_lab.labs", "lab", lab)
            if len(took) == len(LABS):
                row.add(OURS, sum(took.values()))
                row.notes[OURS] = ", ".join(f"{id}: {took[id]:.1f} s" for id in LABS)

        yield from self._in_turns(row, list(LABS), play, rounds=1)

    def _in_turns(
        self,
        row: Row,
        engines: Sequence[str],
        work: Callable[[str], None],
        rounds: int | None = None,
    ) -> Iterator[Step]:
        rounds = rounds or self.rounds
        for number in range(1, rounds + 1):
            for engine in engines:
                title = f"{row.title}: {engine}, {number} of {rounds}"
                yield Step(title, partial(work, engine))


def run(seconds: float, rounds: int) -> int:
    """Measure, write bench.json, print the table. See run_bench."""
    console = Console()
    suite = Suite(seconds, rounds)
    begin, machine = time.monotonic(), describe_machine()
    problems: list[str] = []
    columns = (TextColumn("{task.description:60}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        try:
            with Network(load(TOPOLOGIES / "bench.yaml")) as net:
                put_scapy_in_place(net)
                put_mininets_nat_in_place(net)
                problems += _carry_out(list(suite.traffic_steps(Traffic(net))), progress)
        except BuildError as error:  # a limit from outside, such as a container's
            problems.append(f"all traffic: {error}; `make doctor` may know why")
        problems += _carry_out(list(suite.starting_steps()), progress)
        problems += _carry_out(list(suite.lab_steps()), progress)
    measured = [row for row in suite.rows if row.samples]
    result = {
        "machine": machine,
        "command": f"make bench SECONDS={seconds:g} ROUNDS={rounds}",
        "seconds": time.monotonic() - begin,
        "problems": problems,
        "rows": [row.as_json() for row in measured],
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    give_to_owner(RESULT)
    console.print(table(measured))
    for problem in problems:
        console.print(f"not measured: {problem}", style="red", markup=False)
    console.print(f"{machine['summary']}; {result['seconds']:.0f} s in all. {RESULT.name} has it.")
    if machine["load_before"] > machine["processors"] / 2:
        console.print("Others were using the processors: trust the ratios, not the figures.")
    return exit_status(passed=not problems)


def _carry_out(steps: list[Step], progress: Progress) -> list[str]:
    """Do one step after the other; what could not be measured, and why."""
    problems = []
    task = progress.add_task("", total=len(steps))
    for step in steps:
        progress.update(task, description=step.title)
        try:
            step.work()
        except (BenchError, BuildError, DeadlinePassed, ProgramEnded) as error:
            problems.append(f"{step.title}: {error}")
        progress.advance(task)
    progress.remove_task(task)
    return problems


def peer_versions() -> str:
    """The versions of what is measured beside ours, as the distribution and pip name them."""
    command = ["dpkg-query", "-W", "-f=${Package} ${Version}, ", *PEERS]
    try:
        packages = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:  # not Debian
        packages = ""
    return f"{packages}scapy {importlib.metadata.version('scapy')}"


def describe_machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    model = next((li.partition(": ")[2] for li in lines if li.startswith("model name")), "unknown")
    processors, load_average = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    python = platform.python_version()
    return {
        "processor": model,
        "processors": processors,
        "kernel": platform.release(),
        "python": python,
        "load_before": load_average,
        "peers": peer_versions(),
        "summary": f"{processors} × {model}, Linux {platform.release()}, Python {python}, "
        f"load {load_average:.1f} before",
    }
