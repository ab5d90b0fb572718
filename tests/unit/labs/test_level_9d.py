"""What lab 9d reads from the wire, and what it says where a program is missing."""

from __future__ import annotations

import shutil

import pytest

from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.level_9d import messages
from napt_lab.labs.level_9d.checks import natpmpc
from tests.packets import ethernet, udp
from tests.unit.nat_node.nat_testing import ALICE
from tests.unit.nat_node.port_control_world import NONCE, Home, map_request


def captured(payload, **ip):
    frame = ethernet(udp("10.0.0.7:40000", "10.0.0.1:5351", payload, **ip))
    return Captured("alice:eth0", 0, True, len(frame), frame)


def test_a_request_and_its_answer_are_read_as_both_sides_mean_them():
    """The third to read these bytes, after the server and the client."""
    home = Home()
    home.wait(3)
    asked = map_request(80, 600, wish=8080)
    request = messages.read(captured(asked))
    answer = messages.read(captured(home.send(asked), options=b"\x01" * 4))
    assert (request.is_answer, answer.is_answer) == (False, True)
    for message in (request, answer):
        assert (message.version, message.opcode, message.nonce) == (2, 1, NONCE.hex())
        assert (message.internal_port, message.external_port) == (80, 8080)
        assert (message.result, message.lifetime) == (0, 600)
    assert answer.epoch == 3
    refused = messages.read(captured(home.send(map_request(80, 0, nonce=bytes(12)))))
    assert refused.result == messages.NOT_AUTHORIZED
    assert f"{refused}".endswith("for 600 s: NOT_AUTHORIZED, epoch 3")


@pytest.mark.parametrize("payload", [b"\0\0", b"\2", b"\0\1" + bytes(10), bytes(60)])
def test_what_is_not_pcp(payload):
    assert messages.read(captured(payload)) is None


def test_a_missing_natpmpc_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(OSError, match="sudo apt-get install natpmpc"):
        natpmpc("-g", ALICE)
