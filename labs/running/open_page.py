"""Open the page on which a browser sees what goes on, if there is to be one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from napt_lab.labs.records.stream import Stream
from napt_lab.labs.view.door import Door

if TYPE_CHECKING:
    from napt_lab.labs.view.live import AtPrompt, Live


def open_page(
    door: Door | None, title: str, stream: Stream, console: Console, prompt: AtPrompt | None = None
) -> Live | None:
    """Show what `stream` tells from now on in a browser, if there is a door."""
    if door is None:
        return None
    from napt_lab.labs.view.live import Live  # it brings a web server, which others do not need

    live = Live(door, title, stream, prompt)
    stream.listen(live)
    console.print(f"See it in a browser: {door.url}", highlight=False, soft_wrap=True)
    return live
