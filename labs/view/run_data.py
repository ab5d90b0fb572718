"""All that the page of a finished run shows: its recording, and the packets of its captures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from napt_lab.labs.records.stream import Record
from napt_lab.labs.report.capture import Window, pick
from napt_lab.labs.report.journey import Journey, find_drops, follow
from napt_lab.labs.view.packets import Flows, own_addresses, packet_record
from napt_lab.labs.view.recording import Recording
from napt_lab.topologies.network.plan import node_plans
from napt_lab.topologies.spec.loader import load
from napt_lab.topologies.spec.model import Topology


def run_records(recording: Recording, folder: Path) -> list[Record]:
    """Every record of a run whose captures are in `folder`, in the order of time."""
    records = list(recording.records)
    ends = [since for _, _, since in recording.marks[1:]] + [recording.ended or float("inf")]
    marks = zip(recording.marks, ends, strict=False)  # without a part there is no mark
    for (path, capture), part in groupby(marks, key=lambda mark: mark[0][:2]):
        windows = [(since, end) for (_, _, since), end in part]
        topology = load(Path(path))
        flows, own = Flows(), own_addresses(topology)
        for window in pick(folder / capture, windows):
            for journey in _journeys(window, topology, recording):
                number = flows.number(journey)
                record = packet_record(journey, recording.began, number, own)
                records.append(record | _stands_for(journey, window))
    return sorted(records, key=lambda record: record["t"])


def _journeys(window: Window, topology: Topology, recording: Recording) -> Iterator[Journey]:
    ports = {f"{plan.name}:{p.interface}": p for plan in node_plans(topology) for p in plan.ports}
    journeys = follow(window.frames, ports)
    find_drops(journeys, recording.drops)
    yield from journeys


def _stands_for(journey: Journey, window: Window) -> Record:
    """How many packets like it are not shown, if it is the last that is."""
    more = window.take_folded(journey.sightings[0].where, journey.sightings[0].data)
    return {"more": more} if more else {}
