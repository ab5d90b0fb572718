"""The command line's words: every wrong one is refused with a clear line, before anything runs."""

import pytest

from napt_lab.nat_node.__main__ import main

GOOD = {
    "--inside": "lan0",
    "--outside": "wan0",
    "--external": "24.9.3.7",
    "--internal": "10.0.0.1/24",
}


def run(capsys, *more, **replaced):
    words = GOOD | {f"--{name}": value for name, value in replaced.items()}
    argv = [word for pair in words.items() for word in pair]
    status = main(["run", *argv, *more])
    return status, capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ([], "nat_node: --control: where is the control socket to be?"),
        (["--control", "/"], "nat_node: --control: where is the control socket to be?"),
        (["--port-control", "--quota", "-1"], "nat_node: --quota -1: a number, not below 0"),
        (["--ports", "0-10"], "nat_node: --ports 0-10: a range within 1-65535"),
        (["--ports", "10-1"], "nat_node: --ports 10-1: a range within 1-65535"),
        (["--ports", "1-65536"], "nat_node: --ports 1-65536: a range within 1-65535"),
        (["--udp-idle", "-1"], "nat_node: --udp-idle -1.0: a number, not below 0"),
        (["--udp-idle", "nan"], "nat_node: --udp-idle nan: a number, not below 0"),
        (["--tcp-idle", "inf"], "nat_node: --tcp-idle inf: a number, not below 0"),
        (["--host-limit", "-1"], "nat_node: --host-limit -1: a number, not below 0"),
        (["--host", "10.0.0"], "nat_node: '10.0.0' is not an IPv4 address"),
        (["--rule", "tcp 80"], "nat_node: --rule 'tcp 80': such as 'tcp 8080 -> 10.0.0.7:8080'"),
        (["--rule", "tcp 80 -> 10.0.0.7"], "nat_node: '10.0.0.7' is not an endpoint"),
    ],
)
def test_wrong_words(capsys, more, error, monkeypatch):
    monkeypatch.delenv("NAPT_CONTROL", raising=False)
    status, said = run(capsys, *more)
    assert status == 2
    assert said.startswith(error)
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "internal", ["10.0.0.1", "10.0.0.1/", "10.0.0.1/7", "10.0.0.1/31", "10.0.0.1/x", "10.0.0/24"]
)
def test_a_wrong_inside_address(capsys, internal):
    status, said = run(capsys, "--control", "/nowhere", internal=internal)
    assert status == 2
    assert said.count("\n") == 1
