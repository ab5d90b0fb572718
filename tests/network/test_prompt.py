"""The prompt's commands on a running network, typed by nobody."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from napt_lab.topologies.spec.checkout import TOPOLOGIES
from tests.network.typed_lines import typed

pytestmark = pytest.mark.network(timeout=30)


@pytest.fixture(autouse=True)
def nobodys_history(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture
def keyboard(monkeypatch):
    """A standard input on which nobody types unless the test does; returns its other end."""
    here, there = os.pipe()
    with os.fdopen(here) as stdin, os.fdopen(there, "w") as keys:
        monkeypatch.setattr("sys.stdin", stdin)
        yield keys


def test_watch_shows_each_packet_until_the_command_ends(monkeypatch, keyboard):
    shown = typed(monkeypatch, "watch bob while bob ping -q -c 1 198.51.100.10").splitlines()
    assert any("eth0 out 10.0.0.9 → 198.51.100.10 icmp echo request" in line for line in shown)
    assert any("eth0 in  198.51.100.10 → 10.0.0.9 icmp echo reply" in line for line in shown)


def test_watch_ends_with_enter(monkeypatch, keyboard):
    keyboard.write("\n")
    keyboard.flush()
    assert "until Enter" in typed(monkeypatch, "watch napt_a wan0")


def test_names_that_do_not_exist_are_told_with_those_that_do(monkeypatch):
    shown = typed(
        monkeypatch,
        "shell nobody",
        "watch bob wlan0",
        "watch nobody",
        "nobody ls",
        "draw 'x",
        "bob",
        "DRWA",
        "alcie ls",
        "curl -m 1 http://198.51.100.10/",
        "clear",
        "rule list",
        "solution",
    )
    assert shown.count("The nodes: internet, files, relay, napt_a, alice, napt_b, bob") == 4
    assert "bob has no wlan0; it has eth0" in shown
    assert "No closing quotation; the command was not run" in shown
    assert "Type a command for bob after its name, or: shell bob" in shown
    neither = "is neither a command (? shows them) nor a node"
    assert f"DRWA {neither}: did you mean draw?" in shown
    assert f"alcie {neither}: did you mean alice?" in shown
    assert f"curl {neither}. A program runs on a node, as in: bob curl" in " ".join(shown.split())
    assert f"clear {neither}: Ctrl-L clears the screen." in shown
    assert "`rules` lists the rules" in shown
    assert f"solution {neither}.\n" in shown, "there is no solve at this prompt"


def test_no_command_reaches_python_or_a_shell_outside_a_node(monkeypatch, tmp_path):
    made = tmp_path / "made"
    lines = (
        f"sh touch {made}", f"!touch {made}", f"shell touch {made}", f"py open('{made}', 'w')",
        f"px open('{made}', 'w')", f"pingall ; touch {made}", f"time sh touch {made}",
        f"x bob touch {made}", f"source {made}", f"rule add napt_a tcp ;touch {made} x",
        f"rules $(touch {made})",
    )  # fmt: skip
    shown = typed(monkeypatch, "next", *lines)
    assert "next is neither a command" in shown
    assert shown.count("is neither a command") == 1 + 7
    assert not made.exists()


def test_a_nodes_line_is_done_by_a_shell_on_that_node(monkeypatch, keyboard, capfd):
    shown = typed(
        monkeypatch,
        "bob ip -br addr show dev eth0 | tr -s ' ' | cut -d ' ' -f 3",
        "bob echo 'a;  b' > kept && cat < kept; cat $HOME/kept",
        "bob false | true",
        "bob true | false",
        "time bob echo c | tr c d",
        "bob sleep 99 & echo early",
        "bob true & alice ls",
        "bob false &",
        "bob echo later | tr a-z A-Z &",
        "packets bob while bob true; ping -q -c 1 10.0.0.1 | tail -n 2 | tr a-z A-Z",
        "packets bob while bob",
    )
    said = capfd.readouterr().out
    assert said.startswith("10.0.0.9/24\na;  b\na;  b\nd\nearly\n")
    assert "RTT MIN" in said
    assert "bob: LATER\n" in said
    assert "The whole line ran on bob. Type what alice is to run in another line." in shown
    assert "false on bob ended, exit status 1" in shown
    assert shown.count("bob: exit status 1\n") == 1
    assert "Elapsed time" in shown
    assert "10.0.0.9 → 10.0.0.1 icmp echo request" in shown
    assert "Type a command after `while`, as in: packets" in shown


def test_a_node_knows_the_public_names_and_asks_no_name_server(monkeypatch, keyboard, capfd):
    before = Path("/etc/hosts").read_text()
    shown = typed(
        monkeypatch,
        "bob ping -q -c 1 files",
        "bob grep -c . /etc/resolv.conf",
        "watch bob while bob getent hosts nobody.example",
    )
    assert "PING files (198.51.100.10)" in capfd.readouterr().out
    assert "bob: exit status 1" in shown
    assert ":53" not in shown
    assert Path("/etc/hosts").read_text() == before


def test_rules_are_two_lines_each_and_whole(monkeypatch):
    shown = typed(
        monkeypatch,
        "napt_a napt add tcp 24.9.3.7:8080 10.0.0.7:8080",
        "bob ping -q -c 1 198.51.100.10",
        "rules",
    ).splitlines()
    assert "napt_a: 1 rule" in shown
    assert "  tcp   10.0.0.7:8080         24.9.3.7:8080         *" in shown
    assert any("stays until it is removed; 0 out, 0 in; made by hand" in line for line in shown)
    assert any("in use, expires in" in line for line in shown)
    assert max(map(len, shown)) <= 80


def test_why_says_where_packets_died_and_rules_are_written_by_hand(monkeypatch, keyboard, capfd):
    shown = typed(
        monkeypatch,
        "why",
        "packets while bob curl -sS -m 0.5 http://24.9.3.7:8080/",
        "bob ping -q -c 1 -W 1 198.51.100.10",
        "files ping -q -c 1 -W 1 10.0.0.7",
        "bob bash -c 'exec 3<> /dev/udp/198.51.100.10/9; echo anybody >&3; read -t 5 <&3'",
        # The kernel forgets what did not answer when it holds many neighbors of any network.
        "bob bash -c 'ping -q -c 1 -W 2 10.0.0.7; ip neigh flush all'",
        "why",
        "why all",
        "why napt_b",
        "rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080",
        "rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8081",
        "rule add napt_c tcp 24.9.3.7:8080 10.0.0.7:8080",
        "rule add napt_a",
        "rules napt_a",
        "rule del napt_a tcp 24.9.3.7:8080",
        "rules napt_a",
        "pingall",
        "net",
    )
    assert "No node dropped or refused a packet.\n" in shown
    rewritten = [line for line in shown.splitlines() if "(was 10.0.0.9:" in line]
    assert any("napt_b:wan0 out 203.0.113.77:" in line and "tcp SYN" in line for line in rewritten)
    assert "> 24.9.3.7:8080: no-rule, no rule says which inside host this port belongs to" in shown
    lines = shown.splitlines()
    (came,) = (n for n, line in enumerate(lines) if "napt_a:wan0 in  203.0.113.77:" in line)
    dropped = lines[came + 1]
    assert "napt_a:wan0 ✗   tcp SYN 203.0.113.77:" in dropped
    assert dropped.endswith(" > 24.9.3.7:8080 dropped: no-rule")
    answered = [n for n, line in enumerate(lines) if line.endswith(" refused:")]
    assert [lines[n] for n in answered] == ["files refused:"]
    answered.append(lines.index("internet could not deliver:"))
    port, host = (lines[n + 1] for n in answered)
    assert "198.51.100.10 → 203.0.113.77 icmp destination unreachable (port)" in port
    assert "198.51.100.1 → 198.51.100.10 icmp destination unreachable (host)" in host
    assert shown.count("bob, as 10.0.0.9, asked who has 10.0.0.7") == 2
    assert shown.count("> 24.9.3.7:8080: no-rule") == 1, "`why all` only: it was an earlier command"
    assert "napt_b has dropped nothing so far" in shown
    assert "napt_a added: tcp 24.9.3.7:8080 → 10.0.0.7:8080" in shown
    assert "napt_c is not a NAPT with a table of rules; there are: napt_a, napt_b" in shown
    assert "Examples: rule add napt_a tcp" in shown
    assert "napt_a removed: tcp 24.9.3.7:8080 → 10.0.0.7:8080" in shown
    assert "24.9.3.7:8080         *" in shown
    assert "napt_a: 0 rules" in shown
    assert "alice -> internet files relay napt_a napt_b X" in shown
    assert "napt_a wan0:isp.2-eth2 lan0:site.1-eth1" in shown


def test_why_sees_an_unplugged_cable(monkeypatch, keyboard, capfd):
    shown = typed(monkeypatch, "event unplug alice", "alice ping -q -c 1 -W 1 10.0.0.1", "why")
    assert "a link is down:\n  alice: eth0, its cable is unplugged\n" in shown


def test_why_tells_only_what_a_node_asked_and_nobody_answered(monkeypatch, keyboard, capfd):
    many = "for n in {20..170}; do ping -q -c 1 -W 1 10.0.0.$n & done; wait"
    *told, last = typed(
        monkeypatch,
        "bob bash -c 'ip addr add 10.0.5.1/24 dev eth0; ping -q -c 1 -W 2 10.0.5.9'",
        "why",
        f"bob bash -c '{many}'",  # more than its socket has room for
        "why",
        "bob ping -q -c 1 -W 2 10.0.0.7",
        "why",
        "bob bash -c 'ping -q -c 1 10.0.0.1; sysctl -qw net.ipv4.conf.eth0.arp_notify=1;"
        " ip link set eth0 down; ip link set eth0 up'",  # it tells all its own address
        "why",
    ).split("asked who has ")
    assert [line.split()[0] for line in (*told[1:], last)] == ["10.0.5.9", "10.0.0.7"]
    assert "so much came that not all was seen:\n  bob\n" in told[1]
    assert "No node dropped or refused a packet of the last command" in last


def test_why_answers_for_the_last_command(monkeypatch, keyboard, capfd):
    shown = typed(
        monkeypatch,
        "bob curl -sS -m 0.5 http://24.9.3.7:8080/",
        "alice curl -sS -m 2 http://198.51.100.10:81/",
        "why",
        "alice curl -sS -o got http://198.51.100.10:8080/none",
        "why",
        "alice curl -sS -o got http://198.51.100.10:8080/",
        "why",
        "bob curl -sS -m 1 http://alice:8080/",
        "why",
        "internet ping -c 1 10.0.0.7",
        "why",
        "bob curl -sS -o alice http://198.51.100.10:8080/none",
        "why",
        "alice ip link set eth0 down",
        "alice curl -sS -m 1 http://198.51.100.10:8080/",
        "why",
    )
    assert "files refused:" in shown
    assert "198.51.100.10:81 to 24.9.3.7:" in shown
    assert "refused the connection (RST)" in shown
    assert "files answered 24.9.3.7:" in shown
    assert "with 404: GET /none" in shown
    fetch = "alice curl -sS -o got http://198.51.100.10:8080/"
    assert f"No node dropped or refused a packet of the last command ({fetch})." in shown
    unknown = "not sent:\n  alice is a name of this prompt only; its address is 10.0.0.7\n"
    assert shown.count(unknown) == 1, "a name for a server, not for a file"
    assert "not sent:\n  internet has no route to 10.0.0.7: RTNETLINK answers: " in shown
    assert "a link is down:\n  alice: eth0" in shown
    assert "no-rule" not in shown


def test_why_names_a_proxys_refusal_and_what_its_gateway_does_not_forward(
    monkeypatch, keyboard, capfd
):
    shown = typed(
        monkeypatch,
        "pc curl -sS -m 0.5 http://151.101.1.69/",
        "why",
        "pc curl -sS -m 2 -x http://10.0.0.1:3128 -o got http://10.0.0.7/",
        "why",
        topology="level-8-proxy.yaml",
    )
    before, _, after = shown.partition("proxy answered")
    assert "not forwarded (a proxy's gateway forwards no packets):" in before
    assert "→ 151.101.1.69:80 tcp SYN" in before
    assert "ended at proxy" in before
    assert "10.0.0.7:" in after
    assert " with 4" in after
    assert "not forwarded" not in after


#: What no command on a node does; each must meet the error that it is told to expect.
TURN = """
import asyncio, contextlib, sys
from napt_lab.servers.stun.attributes import Transport
from napt_lab.servers.turn.client.endpoint import TurnError, connected
from napt_lab.servers.turn.client.turn_client import Login

def relay():
    return connected(("198.51.100.11", 3478), "alice", "secret", Transport.UDP)

async def no_allocation():
    async with relay() as turn:
        await turn.permit("203.0.113.77")

async def one_too_many():
    async with relay() as first, relay() as second:
        await first.allocate(Transport.UDP)
        try:
            await second.allocate(Transport.UDP)
        finally:
            await first.delete()

async def stale_nonce():  # the client goes on with the nonce that comes with the 438
    learned, learn = [], Login.learn
    Login.learn = lambda login, challenge: learned.append(challenge) or learn(login, challenge)
    async with relay() as turn:
        await turn.allocate(Transport.UDP)
        turn.turn.login.nonce = b"obMatJos2AAAAstale"
        await turn.permit("203.0.113.77")
        await turn.delete()
    assert len(learned) == 2, learned  # the 401, the 438

async def no_permission():  # a peer connects to the relayed transport address
    async with connected(("198.51.100.11", 3478), "alice", "secret", Transport.TCP) as turn:
        relayed = (await turn.allocate(Transport.TCP)).relayed
        with contextlib.suppress(ConnectionResetError):
            reader, _ = await asyncio.open_connection(*relayed)
            assert await reader.read() == b""
        await turn.delete()

what, code = sys.argv[1:]
try:
    asyncio.run(globals()[what]())
except TurnError as error:
    assert error.code == int(code), error
else:
    assert code == "0"
"""


def test_why_says_for_what_reason_a_turn_server_answered_with_an_error(
    monkeypatch, keyboard, capfd, tmp_path
):
    script, network = tmp_path / "ask.py", tmp_path / "network.yaml"
    script.write_text(TURN)
    text = (TOPOLOGIES / "two-sites-relay.yaml").read_text()
    network.write_text(
        text.replace('{user: "alice:secret"}', '{user: "alice:secret", user-allocations: 1}')
    )
    client = "alice turn-client --server 198.51.100.11:3478 --receive got --permit"
    asks = f"alice {sys.executable} {script}"
    commands = {
        f"{client} 203.0.113.77 --user alice:wrong": (
            "401 Unauthenticated: no user 'alice', or a wrong password"
        ),
        f"{client} 10.0.0.9 --user alice:secret": (
            "403 Forbidden: the server does not relay to 10.0.0.9"
        ),
        f"{asks} no_allocation 437": "437 Allocation Mismatch: the 5-tuple has no allocation",
        f"{asks} one_too_many 486": (
            "486 Allocation Quota Reached: alice has all allocations that a user may have"
        ),
        f"{asks} no_permission 0": "no permission",
        f"{asks} stale_nonce 0": None,
    }
    asked = [line for command in commands for line in (command, "why")]
    shown = typed(monkeypatch, *asked, topology=network)
    told = [line.partition(" away: ")[2] for line in shown.splitlines() if " away: " in line]
    assert told == [reason for reason in commands.values() if reason is not None]
    assert shown.count("turned away:\n") == len(told), "each for its own command only"
    assert "refused a packet of the last command" in shown, "the client went on after a 438"
    assert shown.count("exit status") == 2, f"{capfd.readouterr().err}: they met another error"
    assert "not sent" not in shown, "a user's name is no host's"


def test_a_rule_is_typed_as_it_is_shown_and_a_former_name_is_told_once(
    monkeypatch, keyboard, capfd
):
    shown = typed(
        monkeypatch,
        "rule add napt_a tcp 8080 -> 10.0.0.7:8080",
        "rule del napt_a tcp 24.9.3.7:8080",
        "rule add napt_a tcp 24.9.3.7:8080 → 10.0.0.7:8080",
        "rule del napt_a tcp 8080",
        "rules napt_a > file",
        "rule add napt_a tcp 8080 10.0.0.7:8080 | cat",
        "alice python -m servers.files --help | head -n 1",
        "alice python3 -m servers.files --help | head -n 1",
        "packets alice while alice python -m servers.files --help | head -n 1",
    )
    added = "napt_a added: tcp 24.9.3.7:8080 → 10.0.0.7:8080"
    assert shown.count(added) == 2
    assert shown.count("napt_a removed: tcp 24.9.3.7:8080 → 10.0.0.7:8080") == 2
    assert shown.count("takes no | > &") == 2
    said = "`python -m servers.files` is called file-server now: type file-server …"
    assert shown.count(said) == 1
    assert capfd.readouterr().out.count("usage: file-server") == 3


def test_something_happens_and_the_prompt_says_so_or_what_can(monkeypatch):
    shown = typed(
        monkeypatch,
        "event",
        "event explode napt_a",
        "event renumber napt_a 24.9.3.77",
        "alice curl -sS --max-time 5 http://198.51.100.10:8080/ -o /dev/null",
        "rules napt_a",
        "event unplug alice",
        "alice ping -c 1 -W 1 10.0.0.1",
        "why",
    )
    assert "event renumber GATEWAY ADDRESS" in shown
    assert "'explode' cannot happen; allowed: reboot" in shown
    assert "happened: renumber napt_a 24.9.3.77" in shown
    assert "24.9.3.77:" in shown
    assert "happened: unplug alice" in shown
    assert "alice: exit status" in shown
