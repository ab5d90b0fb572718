"""The live page of a run in a real browser, and who is not let in."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.network.terminal import ROOT, Terminal

URL = re.compile(r"http://127\.0\.0\.1:\d+/\S+/")
LAB = ["-P", "-m", "napt_lab.labs"]
OPEN = "!document.getElementById('line').disabled"
BUTTON = "[...document.querySelectorAll('#words button')].find(b => b.textContent === '{}').click()"
CONNECTION = "document.getElementById('connection').textContent"
ENDED = "The run has ended. The report has all of it."
FIRST_CHOICE = "'#choices label:nth-child(1) input'"
CHOSEN = "[...document.querySelectorAll('#choices input')].findIndex(input => input.checked)"
#: The next answer comes to the lab as a choice that there is not.
REFUSED = """(() => { const real = window.fetch;
    window.fetch = (what, how) => {
        window.fetch = real;
        return real(what, {...how, body: JSON.stringify({...JSON.parse(how.body), line: 'z'})});
    }; })()"""
#: The next request comes to the lab when `release()` is called.
HELD = """(() => { const real = window.fetch;
    window.fetch = (what, how) => {
        window.fetch = real;
        return new Promise(done => { window.release = () => done(real(what, how)); });
    }; })()"""
RULES = """[...document.querySelectorAll('#tables table tbody tr:not(.ended)')]
    .map(row => [row.closest('table').dataset.node,
        ...[...row.cells].slice(1, 4).map(cell => cell.textContent)])"""


@contextmanager
def shell(tmp_path):
    """A prompt on two sites, and the URL of its page."""
    arguments = [*LAB, "shell", "topologies/two-sites.yaml", "--web", "1"]
    with Terminal(arguments, {"XDG_STATE_HOME": str(tmp_path), "COLUMNS": "200"}) as terminal:
        terminal.expect("See it in a browser: ")
        url = terminal.expect("\n").strip()
        terminal.expect("\n> ")
        yield terminal, url


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    with shell(tmp_path_factory.mktemp("state")) as (terminal, url):
        yield terminal, url
        terminal.type("quit\n")
        assert terminal.status() == 0


def at_the_end(expression):
    """An expression, after the newest moment was gone to."""
    return f"""(() => {{ const slider = document.getElementById('slider');
        slider.value = slider.max; slider.dispatchEvent(new Event('input'));
        return {expression}; }})()"""


def to_the_end(page):
    page.evaluate(at_the_end("true"))


def until_listed(page, text):
    """Await a packet among the newest."""
    listed = "document.getElementById('packets').textContent"
    page.until(at_the_end(f"{listed}.includes({json.dumps(text)})"))


def type_line(page, line):
    page.evaluate(f"""(() => {{ document.getElementById('line').value = {json.dumps(line)};
        document.querySelector('#type button').click(); }})()""")


def answers(page, text):
    page.until(f"document.getElementById('answers').textContent.includes({json.dumps(text)})")


def rules_at_prompt(terminal):
    """What the control sockets say, by way of the terminal: (NAPT, protocol, inside, outside)."""
    terminal.type("rules\n")
    terminal.expect("rules\n")
    shown = terminal.expect("\n> ")
    found, napt = [], ""
    for line in shown.splitlines():
        if head := re.match(r"(napt_\w): ", line):
            napt = head[1]
        elif row := re.search(r"(tcp|udp|icmp)\s+(\S+:\d+)\s+(\S+:\d+)\s", line):
            found.append([napt, row[1], row[2], row[3]])
    return sorted(found), shown


def test_what_is_typed_on_the_page_is_done_and_shown(chromium, running):
    terminal, url = running
    with chromium.page(1280, 900) as page:
        page.open(url)
        page.until(OPEN)
        type_line(page, "bob curl -sS -o /dev/null http://198.51.100.10:8080/")
        type_line(page, "rule add napt_a tcp 8080 -> 10.0.0.7:8080")
        answers(page, "napt_a added: tcp 24.9.3.7:8080 → 10.0.0.7:8080")
        page.until("document.querySelectorAll('#marks .command').length > 0")
        until_listed(page, "FIN ACK")
        page.until("document.querySelectorAll('#marks .rule').length > 0")
        to_the_end(page)
        page.until(f"({RULES}).length >= 2")
        told, shown = rules_at_prompt(terminal)
        assert sorted(page.evaluate(RULES)) == told, shown
        type_line(page, "rule del napt_a tcp 8080")
        answers(page, "napt_a removed: tcp 24.9.3.7:8080")
        page.until("document.querySelectorAll('#marks .ended').length > 0")
        to_the_end(page)
        told, shown = rules_at_prompt(terminal)
        assert sorted(page.evaluate(RULES)) == told, shown
        terminal.type("bob ping -c 1 -W 1 10.0.0.1\n")
        terminal.expect("\n> ")
        until_listed(page, "ICMP echo request")
        page.until("document.getElementById('doings').textContent.includes('bob$ ping -c 1 -W 1')")
        type_line(page, "bob curl -m 1 http://24.9.3.7:8080/")
        answers(page, "> bob curl -m 1 http://24.9.3.7:8080/")
        answers(page, "timed out after")
        shown = page.evaluate("document.getElementById('answers').textContent")
        assert "\r" not in shown
        assert "% Total" not in shown  # curl's progress meter
        type_line(page, "why")
        answers(page, "napt_a dropped")
        type_line(page, "rules napt_b")
        answers(page, "napt_b: ")
        type_line(page, "nobody ping 10.0.0.1")
        answers(page, "> nobody ping 10.0.0.1nobody is not a node")
        page.until("document.getElementById('line').value === 'nobody ping 10.0.0.1'")
        assert page.complaints() == []


#: How many frames the page asks for while ten are drawn.
FRAMES = """(() => { const real = window.requestAnimationFrame;
    let asked = 0, left = 10;
    window.requestAnimationFrame = draw => { asked += 1; return real(draw); };
    return new Promise(done => {
        const drawn = () => {
            if (--left) return real(drawn);
            window.requestAnimationFrame = real;
            done(asked);
        };
        real(drawn);
    }); })()"""


def test_a_page_that_waits_for_news_draws_nothing(chromium, running):
    _, url = running
    with chromium.page(1280, 900) as page:
        page.open(url)
        page.until(OPEN)
        page.until(f"{FRAMES}.then(asked => asked === 0)")
        type_line(page, "alice ping -c 1 10.0.0.1")
        page.until(f"{FRAMES}.then(asked => asked >= 9)")
        page.until(f"{FRAMES}.then(asked => asked === 0)")


def test_a_line_typed_on_the_page_is_shown_while_it_runs(chromium, running):
    _, url = running
    with chromium.page(1280, 900) as page:
        page.open(url)
        page.until(OPEN)
        type_line(page, "bob mkfifo pipe; echo made")
        answers(page, "echo mademade")
        type_line(page, "bob read line < pipe; echo end: $line")
        answers(page, "$linerunning …")
        type_line(page, "bob echo 5 > pipe")
        answers(page, "$lineend: 5> bob echo")
        page.until("!document.getElementById('answers').textContent.includes('running')")


def test_two_pages_and_one_that_is_loaded_again_show_the_same(chromium, running):
    _, url = running
    seen = []
    with chromium.page(1280, 900) as one:
        for _ in range(2):
            one.open(url)
            one.until(OPEN)
            seen.append(one.evaluate("document.getElementById('packets').children.length"))
        type_line(one, "alice ping -c 1 -W 1 198.51.100.10")
        with chromium.page(800, 900) as two:
            two.open(url)
            until_listed(two, "ICMP echo reply")
            two.until("document.querySelectorAll('#marks .command').length > 0")
        until_listed(one, "ICMP echo reply")
    assert seen[0] == seen[1]


def ask(url, *, path=None, method="GET", body=None, **headers):
    """A request as anybody may send it; its status and headers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path or parts.path, body=body, headers=given)
    answer = connection.getresponse()
    found = dict(answer.getheaders())
    connection.close()
    return answer.status, found


DO = {
    "method": "POST",
    "body": '{"line": "bob true", "step": 0}',
    "Content_Type": "application/json",
}


def test_only_this_users_page_gets_in(running):
    _, url = running
    parts = urlsplit(url)
    own = f"http://{parts.netloc}"
    assert ask(url)[0] == 200  # the control
    assert ask(url, path="/")[0] in (403, 404)
    assert ask(url, path=f"/{'x' * 32}/")[0] == 403
    assert ask(url, path=f"/{'x' * 32}/stream")[0] == 403
    assert ask(url, path=parts.path[:-2] + "/")[0] == 403
    assert ask(url, Host="evil.example:80")[0] == 403
    assert ask(url, Origin="http://evil.example")[0] == 403
    assert ask(url, Origin="null")[0] == 403
    assert ask(url, Sec_Fetch_Site="cross-site")[0] == 403
    act = parts.path + "do"
    assert ask(url, path=act, **DO)[0] == 403  # no Origin
    assert ask(url, path=act, Origin="http://evil.example", **DO)[0] == 403
    assert ask(url, path=act, Origin=own, **DO)[0] == 200  # the control
    assert ask(url, path=act, Origin=own, **DO | {"Content_Type": "text/plain"})[0] == 415
    assert ask(url, path=act, Origin=own, **DO | {"body": "[1]"})[0] == 400
    assert ask(url, path=act, Origin=own, **DO | {"body": "x" * 10_000})[0] in (400, 413)
    assert ask(url, path=f"/{'x' * 32}/do", Origin=own, **DO)[0] == 403
    assert ask(url, path=parts.path + "next", Origin=own, **DO)[0] == 409  # a prompt has no steps
    assert ask(url)[0] == 200  # and it goes on


def test_the_page_says_what_it_may_do(running):
    _, url = running
    headers = ask(url)[1]
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert not [name for name in headers if name.startswith("Access-Control")]


def test_another_site_cannot_ask_it(chromium, running, tmp_path):
    _, url = running
    other = tmp_path / "other.html"
    other.write_text("<title>another site</title>")
    with chromium.page() as page:
        page.open(other.as_uri())
        asked = f"""fetch('{url}do', {{method: 'POST', mode: 'no-cors',
            headers: {{'Content-Type': 'text/plain'}}, body: '{{"line": "bob touch /tmp/owned"}}'}})
            .then(answer => answer.type, () => 'blocked')"""
        assert page.evaluate(asked) in ("opaque", "blocked")
        assert page.evaluate(f"fetch('{url}').then(a => a.text(), () => 'blocked')") == "blocked"


def test_a_page_left_open_when_the_lab_ends_keeps_all_it_has(chromium):
    command = [sys.executable, *LAB, "lab", "9a", "--web", "1"]
    lab = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert lab.stdout is not None
    with lab, chromium.page(1280, 900) as page:
        url = next(found[0] for line in lab.stdout if (found := URL.search(line)))
        page.open(url)
        lab.stdout.read()
        assert lab.wait() == 0
        page.until(f"{CONNECTION} === {json.dumps(ENDED)}")
        to_the_end(page)
        assert "The end. Claims: 2 hold." in page.evaluate(
            "document.getElementById('checks').textContent"
        )
        assert "all claims hold" in page.evaluate(
            "document.getElementById('said-aloud').textContent"
        )
        page.evaluate("document.getElementById('back').click()")
        assert page.evaluate("document.querySelectorAll('#packets li').length") > 5
        assert page.complaints() == []


def test_after_a_run_the_page_can_still_be_opened(chromium, tmp_path):
    arguments = [*LAB, "lab", "9a", "--web", "1"]
    with Terminal(arguments, {"XDG_STATE_HOME": str(tmp_path)}) as terminal:
        found = URL.search(terminal.expect("/\n") + "/")
        assert found
        terminal.expect(f"The page goes on showing the run: {found[0]}")
        terminal.expect("press Enter")
        with chromium.page(1280, 900) as page:
            page.open(found[0])
            page.until(f"{CONNECTION} === {json.dumps(ENDED)}")
            until_listed(page, "FIN ACK")
            terminal.type("\n")
            assert terminal.status() == 0
            assert page.complaints() == []


def test_the_next_step_is_a_button(chromium, tmp_path):
    arguments = [*LAB, "lab", "9a", "--step", "--web", "1"]
    with Terminal(arguments, {"XDG_STATE_HOME": str(tmp_path)}) as terminal:
        url = URL.search(terminal.expect("/\n") + "/")
        terminal.expect("next step")
        with chromium.page(1280, 900) as page:
            assert url
            page.open(url[0])
            page.until(OPEN)
            page.until("document.querySelectorAll('#choices input').length === 3")
            page.click("#choices label:nth-child(2)")
            terminal.expect("You predict: the two NAPTs")
            # What the lab has counts: also what is typed later, and when it refuses a click.
            terminal.type("a\n")
            terminal.expect("You predict: the server")
            page.until(at_the_end(CHOSEN + " === 0"))
            page.evaluate(REFUSED)
            page.click("#choices label:nth-child(2)")
            answers(page, "is not an answer: type a letter, a to c")
            page.until(CHOSEN + " === 0")
            page.click("#choices label:nth-child(2)")
            terminal.expect("You predict: the two NAPTs")
            terminal.expect("\n> ")
            terminal.type("abc")
            terminal.expect("abc")
            type_line(page, "alice echo $((6 * 7))")
            terminal.expect("  42")
            terminal.expect("\n> abc")  # what is typed is there again
            type_line(page, "why")
            answers(page, "of the last command (alice echo $((6 * 7)))")
            type_line(page, "alice curll")
            answers(page, "not found")
            type_line(page, "why")
            answers(page, "alice has no program curll")
            type_line(page, "rules")
            answers(page, "napt_a: ")
            page.evaluate(HELD)
            page.click("#choices label:nth-child(3)")
            page.evaluate("document.getElementById('next').click()")
            terminal.expect("The belief behind it: A NAPT makes a second connection")
            terminal.expect("Step 2")
            terminal.expect("next step")
            page.evaluate("window.release()")
            answers(page, "The lab has gone on: that was for step 1.")
            # The page still shows the first step, and leads to the second before that acts.
            page.until("document.getElementById('next').textContent === 'Go to step 2'")
            page.evaluate("document.getElementById('back-step').click()")
            page.evaluate(f"document.querySelector({FIRST_CHOICE}).click()")  # too late
            page.evaluate("document.getElementById('next').click()")
            assert page.evaluate("document.getElementById('next').textContent") == "Next step"
            step = "document.getElementById('step').textContent"
            assert page.evaluate(step).startswith("Step 2 of 3")
            with chromium.page(1280, 900) as late:
                late.open(url[0])
                late.until(f"{step}.startsWith('Step 2 of 3')")
            terminal.type("a\n")
            assert "You predict" not in terminal.expect("You predict: 198.51.100.10: the server")
            page.until(at_the_end("document.querySelector('#choices input').checked"))
            told = page.evaluate("document.getElementById('said').textContent")
            assert told.startswith("Step 1: Who opens the connections")
            assert "You said: the two NAPTs" in told
            assert "Seen: both PCs, each from inside its home" in told
            terminal.type("quit\n")
            assert terminal.status() == 1
            page.until(f"{CONNECTION} === {json.dumps(ENDED)}")
            assert page.complaints() == []


def test_an_exercise_is_done_on_the_page(chromium, tmp_path):
    arguments = [*LAB, "exercise", "9c", "--web", "1"]
    with Terminal(arguments, {"XDG_STATE_HOME": str(tmp_path), "COLUMNS": "200"}) as terminal:
        found = URL.search(terminal.expect("/\n") + "/")
        terminal.expect("door> ")
        with chromium.page(1280, 900) as page:
            assert found
            page.open(found[0])
            page.until(OPEN)
            assert page.evaluate("document.getElementById('next').hidden")
            task = "document.querySelector('#step pre')?.textContent"
            assert page.until(task).startswith("bob curl -m 2 -o holiday.jpg http://")
            type_line(page, "bob curl -sS -m 1 http://24.9.3.7:8000/")
            answers(page, "timed out")
            page.evaluate(BUTTON.format("why"))
            answers(page, "no-rule")
            type_line(page, "bob curll")
            answers(page, "no such file or directory")
            page.evaluate(BUTTON.format("why"))
            answers(page, "bob has no program curll")
            type_line(page, "hint")
            answers(page, "1. Let bob try")
            type_line(page, "rule add napt_a tcp 8000 -> 10.0.0.7:8000")
            answers(page, "napt_a added: tcp 24.9.3.7:8000 → 10.0.0.7:8000")
            type_line(page, "bob curl -sS -m 5 -o holiday.jpg http://24.9.3.7:8000/holiday.jpg")
            page.until(at_the_end("document.querySelectorAll('#packets li').length > 5"))
            type_line(page, "check")
            answers(page, "4 of 4 points. Solved!")
            type_line(page, "bob curl 'unfinished")
            answers(page, "No closing quotation")
            step = "document.getElementById('step').textContent"
            assert "Exercise" not in page.evaluate(step)
            page.evaluate(BUTTON.format("reset"))
            terminal.expect("A fresh network is up.")
            terminal.expect("door> ")
            type_line(page, "transcript")
            answers(page, "reset\n  (a fresh network)")
            page.until(
                at_the_end("document.getElementById('doings').textContent.includes('bob$ curl')")
            )
            page.evaluate(BUTTON.format("solve"))
            terminal.expect("4 of 4 points. That was the solution.")
            terminal.expect("door> ")
            doings = "document.getElementById('doings').textContent"
            page.until(at_the_end(f"{doings}.includes('That was the solution')"))
            page.evaluate(BUTTON.format("next"))
            terminal.expect("both-ways> ")
            page.until(at_the_end(f"{step}.includes('One rule each')"))
            terminal.type("quit\n")
            assert terminal.status() == 0
            page.until(f"{CONNECTION}.startsWith('The exercise has ended')")
            assert page.complaints() == []
