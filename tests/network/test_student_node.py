"""A translator that somebody else wrote, in the place of ours, on real packets."""

from __future__ import annotations

import pytest

from topologies.builder import Network
from topologies.loader import load

pytestmark = pytest.mark.network(timeout=60)

TOPOLOGY = """
internet:
  stackoverflow: {address: 151.101.1.69, runs: [web]}
sites:
  home:
    gateway: {name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24, translator: mine.py}
    hosts: {pc: 10.0.0.7}
"""

#: No more than this is needed for one PC and one port at a time.
SHORT = """
from nat_node.student import Rule, napt

inside = {}

def translate(packet, now):
    if packet.side == "inside":
        inside[packet.protocol] = packet.source
        packet.source = (napt.external, packet.source.port)
    elif packet.protocol in inside:
        packet.destination = inside[packet.protocol]
    else:
        return "no-rule: nobody has sent anything yet"
    return packet
"""


def test_a_few_lines_are_a_napt(tmp_path):
    (tmp_path / "mine.py").write_text(SHORT)
    (tmp_path / "home.yaml").write_text(TOPOLOGY)
    with Network(load(tmp_path / "home.yaml")) as net:
        since = net.log.mark()
        knock = ["curl", "-sS", "--connect-timeout", "0.3", "http://24.9.3.7:8080/"]
        assert net["stackoverflow"].run(knock).status == 28
        drop = net.log.wait_for(
            lambda event: event.name == "drop", deadline=3, what="a drop", since=since
        )
        assert drop.fields["reason"] == "no-rule"
        assert drop.fields["meaning"] == "nobody has sent anything yet"
        page = net["pc"].run(["curl", "-sS", "-m", "5", "http://151.101.1.69/"])
        assert "You are 24.9.3.7:" in page.stdout
        assert net["pc"].run(["ping", "-c", "1", "-W", "2", "151.101.1.69"]).status == 0
        assert net["stackoverflow"].run(["ping", "-c", "1", "-W", "2", "24.9.3.7"]).status == 0
