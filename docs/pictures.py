"""Makes the pictures of README.md from a run of lab 9c: `python -m docs.pictures` (needs Chromium).

The terminal's is what the lab prints, colors and all, from its third step to the fourth; the
report's is what a browser shows of runs/9c/report.html, and so is the moving one: bob's SYN on its
way to alice, once there is a rule.
"""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from docs.animation import animated
from tests.browser.chromium import Chromium, Page

DOCS = Path(__file__).parent
ROOT = DOCS.parent
COLUMNS = 92
SPINNER = re.compile("[\u2801-\u28ff]")
FRAMES, FRAME_MS = 22, 310
FIRST, LAST = "Step 3 of 8", "Step 4 of 8"


def main() -> None:
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
    environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    done = subprocess.run(
        [sys.executable, "-m", "napt_lab.labs", "lab", "9c"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    begin, end = (next(n for n, line in enumerate(lines) if mark in line) for mark in (FIRST, LAST))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in lines[begin:end]:
        if SPINNER.match(Text.from_ansi(line).plain):
            continue
        console.print(Text.from_ansi(line), soft_wrap=True)
    console.save_svg(str(DOCS / "lab-9c.svg"), title="make lab-9c")
    report = (ROOT / "runs" / "9c" / "report.html").resolve().as_uri()
    with tempfile.TemporaryDirectory() as profile:
        browser = Chromium(Path(profile))
        try:
            with browser.page(1400, 12_000) as page:
                page.open(report)
                page.evaluate(
                    "document.querySelector('#step-4').querySelectorAll('details.answer')"
                    ".forEach(each => each.open = true)"
                )
                # The ladder of the connection that the rule lets in.
                x, y, width, height = page.evaluate(
                    "(() => { const step = document.querySelector('#step-4-head').parentElement;"
                    "const r = [...step.querySelectorAll('svg.ladder')].at(-1)"
                    ".getBoundingClientRect();"
                    "return [r.x, r.y + scrollY, r.width, r.height]; })()"
                )
                clip = {"x": x, "y": y, "width": width, "height": min(height, 900), "scale": 1}
                taken = page.command("Page.captureScreenshot", clip=clip)
                (DOCS / "report-9c.png").write_bytes(base64.b64decode(taken["data"]))
            with browser.page(1300, 800) as page:
                page.open(report)
                (DOCS / "view-9c.png").write_bytes(_moving_picture(page))
        finally:
            browser.close()


def _moving_picture(page: Page) -> bytes:
    """The first packet that a rule made by hand lets in, from bob to alice."""
    page.evaluate("""(() => {
        const press = id => document.getElementById(id).click();
        const lit = () => [...document.querySelectorAll('#picture .row.lit')]
            .some(row => row.textContent.startsWith('▸'));
        for (let i = 0; i < 500 && !lit(); i += 1) press('forward');
        document.querySelector('#packets button.now').click();  // back to where it begins
        document.getElementById('follow').click();
    })()""")
    began = page.evaluate("Number(document.getElementById('slider').value)")
    x, y, width, height = page.evaluate(
        "(({x, y, width, height}) => [x, y, width, height])"
        "(document.getElementById('screen').getBoundingClientRect())"
    )
    clip = {
        "x": x,
        "y": y + page.evaluate("scrollY"),
        "width": width,
        "height": height,
        "scale": 0.85,
    }
    frames = []
    for number in range(FRAMES):
        page.evaluate(f"""(() => {{ const slider = document.getElementById('slider');
            slider.value = {began + number * FRAME_MS};
            slider.dispatchEvent(new Event('input')); }})()""")
        taken = page.command("Page.captureScreenshot", clip=clip)
        frames.append(base64.b64decode(taken["data"]))
    return animated(frames, FRAME_MS)


if __name__ == "__main__":
    main()
