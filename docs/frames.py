"""Measures the moving picture: `python -m docs.frames` (needs Chromium).

Of a run with 50 packets under way: the work for each frame while it plays; 60 frames a second leave
16.7 ms. Of one with 10,000 packets: the longest task while the slider is moved. Both are
processor time, not clock time, so that other programs on the machine change them little. Chromium's
tracing counts it for the page's main thread, with style, layout and painting.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser.chromium import Chromium
from tests.unit.labs.view_run import write_many

PLAYED, MOVES = 300, 100  # frames; moments on the slider
TASK, CATEGORIES = "ThreadControllerImpl::RunTask", "toplevel"
PLAY = """(async () => {
    const frame = () => new Promise(requestAnimationFrame);
    const slider = document.getElementById('slider');
    slider.value = %d; slider.dispatchEvent(new Event('input'));
    document.getElementById('play').click();
    const seen = [];
    for (let i = 0; i < %d; i += 1) {
        await frame();
        seen.push(document.querySelectorAll('#picture .packet').length);
    }
    document.getElementById('play').click();
    return [Math.min(...seen), Math.max(...seen)];
})()"""
MOVE = """(async () => {
    const frame = () => new Promise(requestAnimationFrame);
    const slider = document.getElementById('slider');
    for (let i = 0; i <= %d; i += 1) {
        slider.value = slider.max * ((i * 37) %% 101) / 100;
        slider.dispatchEvent(new Event('input'));
        await frame(); await frame();
    }
    for (const id of ['back', 'forward', 'back-step', 'forward-step']) {
        document.getElementById(id).click();
        await frame(); await frame();
    }
})()"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        browser = Chromium(folder / "profile")
        try:
            _play(browser, write_many(folder, 120, ways=3).as_uri())
            _move(browser, write_many(folder, 10_000).as_uri())
            print(f"load of the machine: {os.getloadavg()[0]:.1f}")
        finally:
            browser.close()


def _play(browser: Chromium, report: str) -> None:
    with browser.page(1280, 900) as page:
        page.open(report)
        with _tasks(browser) as tasks:
            least, most = page.evaluate(PLAY % (22_000, PLAYED))
    frames = sorted(tasks)[-PLAYED:]
    half, most_of = frames[PLAYED // 2], frames[PLAYED * 95 // 100]
    print(f"{least} to {most} packets under way, work for each of {PLAYED} frames: ", end="")
    print(f"half within {half:.1f} ms, 95 % within {most_of:.1f} ms")


def _move(browser: Chromium, report: str) -> None:
    with browser.page(1280, 900) as page:
        with _tasks(browser) as opening:
            page.open(report)
        with _tasks(browser) as moving:
            page.evaluate(MOVE % MOVES)
    print(
        f"10,000 packets: the longest task is {max(moving):.0f} ms while the slider moves, ", end=""
    )
    print(f"{max(opening):.0f} ms when the page is opened")


@contextmanager
def _tasks(browser: Chromium) -> Iterator[list[float]]:
    """The milliseconds of processor time of each task of the page's main thread."""
    found: list[float] = []
    browser.command("Tracing.start", traceConfig={"includedCategories": [CATEGORIES]})
    yield found
    browser.events.clear()
    browser.command("Tracing.end")
    while not any(event["method"] == "Tracing.tracingComplete" for event in browser.events):
        browser.poll_events()
    traced: list[dict[str, Any]] = [
        entry
        for event in browser.events
        if event["method"] == "Tracing.dataCollected"
        for entry in event["params"]["value"]
    ]
    main = {
        (entry["pid"], entry["tid"])
        for entry in traced
        if entry["name"] == "thread_name" and entry["args"]["name"] == "CrRendererMain"
    }
    by_thread: dict[tuple[int, int], list[float]] = {thread: [] for thread in main}
    for entry in traced:
        thread = entry["pid"], entry["tid"]
        if entry["name"] == TASK and thread in main:
            by_thread[thread].append(entry.get("tdur", 0) / 1000)
    found += max(by_thread.values(), key=sum)  # the busiest; the other is an empty page's


if __name__ == "__main__":
    main()
