"""A headless Chromium, driven over its DevTools pipe (Chrome DevTools Protocol).

With --remote-debugging-pipe the browser reads commands from file descriptor 3 and writes
answers and events to 4, each a JSON text that ends with a zero byte: no port, no driver, no
library in between.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

DEADLINE = 30.0  # seconds
PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")
LOOK_SECONDS = 0.05  # each look is work for the browser, more so if it shows another moment
FLAGS = (
    "--headless",
    "--no-sandbox",  # it refuses to have one as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--in-process-gpu",  # fewer processes: a launch takes half the time
    "--renderer-process-limit=1",
    "--remote-debugging-pipe",
)


class Chromium:
    """The browser's process and the pipe to it."""

    def __init__(self, profile: Path, prefix: Sequence[str] = ()) -> None:
        """`prefix`: the words that enter the node on which it runs."""
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        assert program, f"apt-get install {PROGRAMS[0]} (make test does it)"
        read, self._to_browser = os.pipe()
        self._from_browser, write = os.pipe()
        self._process = subprocess.Popen(
            # Chromium looks for the pipe at 3 and 4; through 10 and 11 neither end can be in
            # the other's place when it is moved there.
            [*prefix, "bash", "-c", f'exec 10<&{read} 11>&{write} 3<&10 4>&11; exec "$@"', "bash",
             program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(read, write),
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read)
        os.close(write)
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def command(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Carry out one command; returns its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + DEADLINE
        while True:
            answer = self._receive(until, method)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def poll_events(self) -> list[dict[str, Any]]:
        """All events up to now."""
        self.command("Browser.getVersion")
        return self.events

    def _receive(self, until: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select(
                [self._from_browser], [], [], max(0, until - time.monotonic())
            )
            assert ready, f"{what}: no answer within {DEADLINE} s"
            data = os.read(self._from_browser, 1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def close(self) -> None:
        self.command("Browser.close")
        self._process.wait(DEADLINE)
        os.close(self._to_browser)
        os.close(self._from_browser)

    @contextmanager
    def page(self, width: int = 1024, height: int = 768) -> Iterator[Page]:
        """A tab. It has no storage of its own, which would take as long as all else of it."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.events.clear()
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            page.command(f"{domain}.enable")
        page.command("Network.setCacheDisabled", cacheDisabled=True)
        page.set_size(width, height)
        yield page
        self.command("Target.closeTarget", targetId=target)


class Page:
    """One tab."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session

    def command(self, method: str, **parameters: Any) -> Any:
        return self._browser.command(method, self._session, **parameters)

    def set_size(self, width: int, height: int) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def processor_time(self) -> float:
        """The seconds of processor time that the page's main thread has had, since the first call.

        Unlike the time on a clock it does not grow because the machine does something else as well.
        """
        self.command("Performance.enable", timeDomain="threadTicks")
        metrics = self.command("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    def set_media(self, **features: str) -> None:
        """Such as prefers_color_scheme="dark"."""
        listed = [{"name": n.replace("_", "-"), "value": v} for n, v in features.items()]
        self.command("Emulation.setEmulatedMedia", features=listed)

    def open(self, url: str) -> None:
        """Go to a URL and await the end of loading."""
        before = self._loads()
        answer = self.command("Page.navigate", url=url)
        assert not answer.get("errorText"), answer
        self.await_load(before)

    def _loads(self) -> int:
        return sum(e["method"] == "Page.loadEventFired" for e in self._browser.poll_events())

    @contextmanager
    def loading(self) -> Iterator[None]:
        """What happens within loads another page; await it."""
        before = self._loads()
        yield
        self.await_load(before)

    def await_load(self, before: int) -> None:
        wait_until(lambda: self._loads() > before, "the page to load")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Await that an expression becomes true; returns its value."""
        text = "document.body.innerText"
        return wait_until(
            lambda: self.evaluate(expression),
            lambda: f"{expression}; {self.evaluate(text)}",
            again=LOOK_SECONDS,
        )

    def _node(self, selector: str) -> int:
        root = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert node, f"nothing is {selector}"
        return node

    def choose_files(self, selector: str, *paths: Path) -> None:
        """What a person does in the file dialogue."""
        files = [str(path) for path in paths]
        self.command("DOM.setFileInputFiles", nodeId=self._node(selector), files=files)

    def click(self, selector: str) -> None:
        """With the mouse, in the middle."""
        node = self._node(selector)
        self.command("DOM.scrollIntoViewIfNeeded", nodeId=node)
        corners = self.command("DOM.getContentQuads", nodeId=node)["quads"][0]
        where = {"x": (corners[0] + corners[4]) / 2, "y": (corners[1] + corners[5]) / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.command(
                "Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where
            )

    def press(self, key: str) -> None:
        """One key: "Tab", "Enter" or " "."""
        code = {"Tab": 9, "Enter": 13, " ": 32}[key]
        text = {"Enter": "\r", " ": " "}.get(key)
        event = {"key": key, "windowsVirtualKeyCode": code} | ({"text": text} if text else {})
        for kind in ("keyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", type=kind, **event)

    def spoken(self) -> list[tuple[str, str]]:
        """What a screen reader gets: (role, name) of everything that is not ignored."""
        nodes = self.command("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]

    def screenshot(self, path: Path) -> None:
        picture = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def requested(self) -> list[str]:
        """The URLs that this tab has asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self._browser.poll_events()
            if event["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Exceptions, and what the console shows, such as violations of the page's policy.

        Without the answers with 4xx that the console shows, too: they may be meant.
        """
        found = []
        for event in self._browser.poll_events():
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(event["params"]["exceptionDetails"]))
            entry = event["params"].get("entry", {})
            if event["method"] == "Log.entryAdded" and entry["source"] != "network":
                found.append(entry["text"])
        return found
