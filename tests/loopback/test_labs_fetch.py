"""The fetch that labs type does not take an error page for the file."""

from __future__ import annotations

import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from napt_lab.labs.level_8 import checks
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.shared_steps import commands
from napt_lab.labs.stage.steps import Claim, ClaimFailed
from napt_lab.topologies.network.processes import Completed


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments):
        pass


@pytest.fixture
def url(tmp_path):
    (tmp_path / "there").write_text("a file\n")
    handler = lambda *arguments: Silent(*arguments, directory=tmp_path)  # noqa: E731
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(("name", "status", "words"), [("there", 0, "done"), ("gone", 22, "404")])
def test_a_saved_error_page_is_not_done(name, status, words, url, tmp_path):
    argv = checks.curl(f"{url}/{name}", "-o", str(tmp_path / "got"))
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == status
    claim = Claim(Stream(), "8.upload", "the file arrives")
    completed = Completed("alice", argv, done.returncode, done.stdout, done.stderr, 0.0)
    try:
        commands.require_success(claim, completed, "curl")
    except ClaimFailed:
        assert status
    assert words in claim.evidence[-1]
    assert (tmp_path / "got").exists() == (status == 0)


def test_both_spellings_of_a_fetch_have_the_same_options():
    assert commands.curl("24.9.3.7")[:-1] == checks.curl("x")[:-1]
