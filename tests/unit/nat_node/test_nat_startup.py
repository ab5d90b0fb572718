"""The command line's words: every wrong one is refused with a clear line, before anything runs."""

from enum import Enum

import pytest

from napt_lab.nat_node.__main__ import _parser, main
from napt_lab.nat_node.core.settings import PORT_CONTROL, SETTINGS, Choices, LeaseLimits
from napt_lab.nat_node.startup import _limits, _settings

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
        (["--port-control", "--quota", "-1"], "nat_node: --quota -1: allowed: 1 to 1000 rules"),
        (["--ports", "0-10"], "nat_node: --ports 0-10: allowed: a range within 1-65535"),
        (["--ports", "10-1"], "nat_node: --ports 10-1: allowed: a range within 1-65535"),
        (["--ports", "1-65536"], "nat_node: --ports 1-65536: allowed: a range within 1-65535"),
        (["--udp-idle", "-1"], "nat_node: --udp-idle -1: allowed: 0.1 to 86400 s"),
        (["--udp-idle", "nan"], "nat_node: --udp-idle nan: allowed: 0.1 to 86400 s"),
        (["--tcp-idle", "inf"], "nat_node: --tcp-idle inf: allowed: 0.1 to 86400 s"),
        (["--host-limit", "-1"], "nat_node: --host-limit -1: allowed: 1 to 1000000 sessions"),
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


def other_value(setting):
    """A value that is allowed and not the default, and its word."""
    if issubclass(setting.kind, Enum):
        value = next(member for member in setting.kind if member is not setting.default)
        return value, [setting.option, value.value]
    if setting.kind is bool:
        value = not setting.default
    elif setting.kind is range:
        value = range(5000, 5011)
    else:
        value = setting.default + 1 if setting.default < setting.most else setting.default - 1
    return value, setting.words(value)


@pytest.mark.parametrize("setting", [*SETTINGS, *PORT_CONTROL], ids=lambda one: one.name)
def test_each_setting_comes_from_its_word_to_its_field(setting):
    value, words = other_value(setting)
    words += ["--port-control"] if setting in PORT_CONTROL else []
    arguments = _parser().parse_args(
        ["run", *(word for pair in GOOD.items() for word in pair), *words]
    )
    settings = _limits(arguments) if setting in PORT_CONTROL else _settings(arguments)[0]
    assert getattr(settings, setting.name) == value
    for other in PORT_CONTROL if setting in PORT_CONTROL else SETTINGS:
        if other != setting:
            assert getattr(settings, other.name) == other.default


def test_every_field_that_its_owner_can_choose_is_declared():
    declared = {setting.name for setting in (*SETTINGS, *PORT_CONTROL)}
    assert {*Choices.__slots__, *LeaseLimits.__slots__} == declared | {"leases"}
    assert all(setting.what and setting.allowed for setting in (*SETTINGS, *PORT_CONTROL))


def test_the_longest_lifetime_is_not_below_the_shortest(capsys):
    words = ["--min-lifetime", "300", "--max-lifetime", "299"]
    status, said = run(capsys, "--control", "/nowhere", "--port-control", *words)
    assert (status, said) == (
        2,
        "nat_node: --min-lifetime 300 is longer than --max-lifetime 299\n",
    )
