"""The run of report_run as the view's records, and some packets of a relay."""

from __future__ import annotations

from napt_lab.labs.view.recording import Recording
from napt_lab.labs.view.run_data import run_records
from tests.unit.labs.report_run import tell


def record_run(folder, text="plain", **how):
    """The recording of a run of one step (report_run.tell), whose capture is in `folder`."""
    recording = Recording()
    story = tell(folder, text, listener=recording, **how)
    return story, recording


def records(folder, *, kind="", **how):
    _, recording = record_run(folder, **how)
    return [record for record in run_records(recording, folder) if kind in ("", record["kind"])]
