"""The run of report_run as the view's records, and some packets of a relay."""

from __future__ import annotations

import copy
import re

from napt_lab.labs.report.page import write_report
from napt_lab.labs.view.page import as_json, report_inset
from napt_lab.labs.view.recording import Recording
from napt_lab.labs.view.run_data import run_records
from tests.unit.labs.report_run import connection, tell


def record_run(folder, text="plain", **how):
    """The recording of a run of one step (report_run.tell), whose capture is in `folder`."""
    recording = Recording()
    story = tell(folder, text, listener=recording, **how)
    return story, recording


def records(folder, *, kind="", **how):
    _, recording = record_run(folder, **how)
    return [record for record in run_records(recording, folder) if kind in ("", record["kind"])]


def write_many(folder, count, ways=1):
    """A report on so many packets, a microsecond apart, each on its way so many times."""
    story, recording = record_run(folder, frames=connection(segments=0))
    entries = run_records(recording, folder)
    packets = [there_and_back(entry, ways) for entry in entries if entry["kind"] == "packet"]
    others = [entry for entry in entries if entry["kind"] != "packet"]
    began = next(entry["t"] for entry in others if entry["kind"] == "step")
    many = []
    for number in range(count):
        packet = copy.deepcopy(packets[number % len(packets)])
        late = number * 0.001 + began - packet["t"]
        packet["t"] += late
        for hop in packet["hops"]:
            hop[1] += late
        many.append(packet)
    head = [e for e in others if e["t"] <= began and e["kind"] != "end"]
    end = [e | {"t": e["t"] + 600} for e in others if e["kind"] == "end"]
    path = write_report(story, folder, report_inset(recording, folder))
    data = as_json([*head, *many, *end])
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'(id="run">).*?(</script>)', lambda m: m[1] + data + m[2], text, flags=re.DOTALL)
    path.write_text(text, encoding="utf-8")
    return path


def there_and_back(packet, ways):
    """A packet that goes its way so many times, every other time backwards."""
    way, ends = [], ["", ""]
    for where, _, outgoing, *new in packet["hops"]:
        ends = new or ends
        way.append((where, outgoing, ends))
    back = [(where, 1 - outgoing, ends[::-1]) for where, outgoing, ends in reversed(way)]
    hops = [hop for number in range(ways) for hop in (back if number % 2 else way)]
    return packet | {"hops": [
        [where, packet["t"] + number / 100, outgoing, *ends]
        for number, (where, outgoing, ends) in enumerate(hops)
    ]}  # fmt: skip
