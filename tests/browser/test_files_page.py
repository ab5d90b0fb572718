"""The file server's page, as people meet it: in a real browser.

Set NAPT_LAB_SCREENSHOTS to a folder to look at the page yourself.
"""

from __future__ import annotations

import functools
import http.server
import os
import threading
from pathlib import Path

import pytest

from tests.loopback.running import names_in, running
from tests.waiting import wait_until

EVIL = "<img src=x onerror=\"document.title='owned'\">&amp;'.txt"
LAST_STATE = "document.querySelector('#uploads li:last-child p').textContent"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "served"


@pytest.fixture
def server(folder):
    with running(
        "napt_lab.servers.files", "--folder", str(folder), "--max-file", "30000000"
    ) as server:
        yield server


@pytest.fixture
def page(chromium, server):
    with chromium.page() as page:
        page.open(server.url)
        yield page


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "notes and figures.bin"
    path.write_bytes(os.urandom(3_000_000))
    return path


def names(page):
    return page.evaluate("Array.from(document.querySelectorAll('#list a'), a => a.textContent)")


def upload(page, *paths):
    page.choose_files("#choose", *paths)
    page.click("#upload button")


def hold_back(page, rate):
    """Bytes per second that the tab may upload."""
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1}
    page.command("Network.emulateNetworkConditions", uploadThroughput=rate, **conditions)


def test_upload_and_download(page, chromium, server, folder, source, tmp_path):
    assert names(page) == []
    upload(page, source)
    assert page.until(f"/^Stored/.test({LAST_STATE}) && {LAST_STATE}")
    page.until("document.querySelectorAll('#list a').length == 1")
    assert names(page) == [source.name]
    assert (folder / source.name).read_bytes() == source.read_bytes()
    downloads = tmp_path / "downloads"
    chromium.command(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads),
    )  # fmt: skip
    page.click("#list a")
    done = downloads / source.name
    wait_until(lambda: done.exists() and done.read_bytes() == source.read_bytes(), "the download")
    assert page.complaints() == []


def test_several_files_at_once(page, folder, tmp_path):
    paths = [tmp_path / f"file {number}" for number in range(3)]
    for path in paths:
        path.write_text(path.name)
    upload(page, *paths)
    page.until("document.querySelectorAll('#list a').length == 3")
    assert names(page) == [path.name for path in paths]
    assert names_in(folder) == names(page)


def test_progress_and_cancelling(page, server, folder, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(bytes(20_000_000))
    hold_back(page, 2_000_000)
    upload(page, large)
    progress = "document.querySelector('#uploads progress').value"
    some = page.until(f"{progress} > 0 && {progress}")
    assert 0 < some < 1
    assert page.until(f"{progress} > {some}")
    assert "%" in page.evaluate(LAST_STATE)
    wait_until(lambda: list(folder.glob(".upload-*")), "the upload's temporary file")
    page.click("#uploads button")
    page.until(f"/^Cancelled/.test({LAST_STATE})")
    wait_until(lambda: names_in(folder) == [], "nothing left")
    assert names(page) == []


def test_the_server_goes_away(page, server, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(bytes(20_000_000))
    hold_back(page, 2_000_000)
    upload(page, large)
    page.until("document.querySelector('#uploads progress').value > 0")
    server.end()
    page.until(f"/nothing was stored/.test({LAST_STATE})")


def test_no_overwriting_without_asking(page, folder, source):
    upload(page, source)
    page.until(f"/^Stored/.test({LAST_STATE})")
    old = source.read_bytes()
    source.write_bytes(b"new")
    upload(page, source)
    page.until("document.querySelectorAll('#uploads li').length == 2")
    page.until(f"/name already/.test({LAST_STATE})")
    assert (folder / source.name).read_bytes() == old
    page.click("#replace")
    upload(page, source)
    page.until("document.querySelectorAll('#uploads li').length == 3")
    page.until(f"/^Stored/.test({LAST_STATE})")
    assert (folder / source.name).read_bytes() == b"new"


def test_what_the_server_would_refuse_is_not_sent(page, server, tmp_path):
    large, hidden = tmp_path / "large", tmp_path / ".hidden"
    large.write_bytes(bytes(30_000_001))
    hidden.write_bytes(b"x")
    upload(page, large, hidden)
    page.until("document.querySelectorAll('#uploads li').length == 2")
    page.until(f"/does not take this name/.test({LAST_STATE})")
    assert "too large" in page.evaluate("document.querySelector('#uploads p').textContent")
    server.event("request", method="HEAD", status=400)  # what was asked last
    assert server.told("request", method="PUT") == []


def test_a_name_that_looks_like_html_stays_a_name(page, server, tmp_path):
    path = tmp_path / EVIL.replace("/", "")
    path.write_bytes(b"x")
    upload(page, path)
    page.until("document.querySelectorAll('#list a').length == 1")
    page.open(server.url)
    assert names(page) == [path.name]
    assert page.evaluate("document.images.length") == 0
    assert page.evaluate("document.title").startswith("Files at ")
    assert page.complaints() == []
    # The control: were it not escaped, the policy would still stop it, and say so.
    page.evaluate(f"document.body.insertAdjacentHTML('beforeend', {EVIL!r})")
    assert page.evaluate("document.images.length") == 1
    wait_until(lambda: page.complaints(), "a violation of the policy")
    assert page.evaluate("document.title").startswith("Files at ")


def test_an_uploaded_page_does_not_run(page, server, folder):
    (folder / "page.html").write_text("<script>document.title = 'owned'</script>")
    answer = page.command("Page.navigate", url=f"{server.url}/page.html")
    assert answer.get("isDownload")  # an attachment: no page at all
    assert page.evaluate("document.title").startswith("Files at ")


def test_nothing_comes_from_elsewhere(page, server, source):
    upload(page, source)
    page.until("document.querySelectorAll('#list a').length == 1")
    page.open(server.url)
    asked = [url for url in page.requested() if not url.startswith("data:")]
    assert len(asked) > 3
    assert all(url.startswith(server.url) for url in asked)
    assert {event["status"] for event in server.told("request")} <= {200, 201, 404}


def test_without_javascript(chromium, server, folder, source):
    with chromium.page() as page:
        page.command("Emulation.setScriptExecutionDisabled", value=True)
        page.open(server.url)
        page.choose_files("#choose", source)
        with page.loading():
            page.click("#upload button")
        assert (folder / source.name).read_bytes() == source.read_bytes()
        assert source.name in [name for role, name in page.spoken() if role == "link"]
        page.choose_files("#choose", source)
        with page.loading():
            page.click("#upload button")
        spoken = page.spoken()
        assert ("heading", "Conflict") in spoken
        with page.loading():
            page.click("main a")
        source.write_bytes(b"new")
        page.choose_files("#choose", source)
        page.click("#replace")
        with page.loading():
            page.click("#upload button")
        assert (folder / source.name).read_bytes() == b"new"


def test_by_keyboard_alone(page, server, folder, source):
    (folder / source.name).write_bytes(b"old")
    page.open(server.url)
    focused = "document.activeElement"
    seen = []
    for _ in range(5):
        page.press("Tab")
        outline = page.evaluate(f"getComputedStyle({focused}).outlineStyle")
        seen.append((page.evaluate(f"{focused}.id || {focused}.textContent"), outline))
        if seen[-1][0] == "replace":
            page.press(" ")
            assert page.evaluate("document.getElementById('replace').checked")
        if seen[-1][0] == "choose":
            page.choose_files("#choose", source)  # the dialogue itself is the browser's
        if seen[-1][0] == "Upload":
            page.press("Enter")
            page.until("document.querySelectorAll('#uploads li').length == 1")
            page.until(f"/^Stored/.test({LAST_STATE})")
            page.until("/2\\.9 MiB, /.test(document.querySelector('#list').textContent)")
        if seen[-1][0] == source.name:
            break
    assert [name for name, _ in seen] == ["replace", "choose", "Upload", source.name]
    assert {outline for _, outline in seen} == {"solid"}
    assert (folder / source.name).read_bytes() == source.read_bytes()


def test_by_ear(page, source):
    hold_back(page, 500_000)
    upload(page, source)
    page.until("document.querySelector('#uploads progress').value > 0")
    spoken = page.spoken()
    assert ("heading", "Files") in spoken
    assert ("region", "Upload") in spoken
    assert ("region", "Download") in spoken
    assert ("checkbox", "Replace files of the same name") in spoken
    assert ("button", "Upload") in spoken
    assert ("progressbar", f"Upload of {source.name}") in spoken
    assert ("button", f"Cancel the upload of {source.name}") in spoken
    assert "status" in [role for role, _ in spoken]
    chooser = page.evaluate("document.getElementById('choose').labels[0].textContent")
    assert chooser.startswith("Choose files")
    hold_back(page, -1)
    page.until("/: Stored/.test(document.getElementById('announcement').textContent)")
    page.until("document.querySelectorAll('#list a').length == 1")
    assert ("link", source.name) in page.spoken()


def luminance(colour):
    """WCAG 2.2's relative luminance of `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("width", [1024, 320])
def test_on_every_screen(page, source, folder, width, server):
    for name in ("x" * 200, "ordinary.txt", "مرحبا.txt", EVIL.replace("/", "")):
        (folder / name).write_bytes(b"x" * 12345)
    page.set_size(width, 700)
    page.open(server.url)
    hold_back(page, 3_000_000)
    upload(page, source)
    page.until("document.querySelector('#uploads progress').value > 0.1")
    for scheme in ("light", "dark"):
        page.set_media(prefers_color_scheme=scheme)
        if pictures := os.environ.get("NAPT_LAB_SCREENSHOTS"):
            page.screenshot(Path(pictures) / f"{scheme}-{width}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(background) < 0.2) is (scheme == "dark")
        for selector in ("body", "#list a", "#list span", "#uploads p"):
            colour = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).color")
            dark, light = sorted([luminance(colour), luminance(background)])
            assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{selector} is hard to read"
    height = "document.querySelector('#upload button').getBoundingClientRect().height"
    assert page.evaluate(height) >= 44


@pytest.fixture
def other_site(tmp_path):
    """Another origin on the same machine."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("<title>another site</title>")
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "other")
    )
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    yield f"http://localhost:{site.server_port}"
    site.shutdown()
    thread.join()
    site.server_close()


ATTACKS = {
    "put": "fetch('{url}/put', {{method: 'PUT', body: 'x'}}).then(r => r.status, () => 'blocked')",
    "post": """(() => {{
        const form = new FormData();
        form.append('file', new File(['x'], 'post'));
        return fetch('{url}/', {{method: 'POST', body: form, mode: '{mode}'}})
            .then(r => r.status, () => 'blocked');
    }})()""",
    "get": "fetch('{url}/secret').then(r => r.text(), () => 'blocked')",
}


def test_another_site_can_neither_read_nor_write(page, server, folder, other_site):
    (folder / "secret").write_text("secret")
    page.open(other_site)
    mode = "no-cors"  # the way round a preflight that a form has, too
    got = {name: page.evaluate(how.format(url=server.url, mode=mode)) for name, how in
           ATTACKS.items()}  # fmt: skip
    assert got == {"put": "blocked", "post": "blocked", "get": "blocked"}
    refused = server.event("request", method="POST")
    assert refused["status"] == 403
    assert names_in(folder) == ["secret"]
    # The control: the same from the server's own page.
    page.open(server.url)
    got = {name: page.evaluate(how.format(url=server.url, mode="cors")) for name, how in
           ATTACKS.items()}  # fmt: skip
    assert got == {"put": 201, "post": 201, "get": "secret"}
    assert names_in(folder) == ["post", "put", "secret"]
