"""The control of a running NAPT, with a control socket that the test itself answers."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from napt_lab.topologies.network.napt_control import NaptControl
from napt_lab.topologies.network.processes import EventLog


def test_a_closed_subscription_is_not_begun_again(tmp_path):
    """The translator would go on to write events that no one reads."""
    control = NaptControl("napt", tmp_path / "control.sock")
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor() as pool:
        listener.bind(str(control.path))
        listener.listen()
        listener.settimeout(20)
        subscribing = pool.submit(control.subscribe, EventLog())
        connection, _ = listener.accept()
        with connection, connection.makefile() as requests:
            assert requests.readline() == '{"do": "events"}\n'
            connection.sendall(b'{"ok": true}\n')
            subscribing.result(timeout=20)
            (follower,) = (t for t in threading.enumerate() if t.name == "napt-events")
            control.close()
            follower.join(timeout=20)
            assert not follower.is_alive()
            assert requests.readline() == ""
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
