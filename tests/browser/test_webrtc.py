"""Two real browsers behind NAPTs: a megabyte over a WebRTC data channel, directly and by TURN.

They are told of each other by the test, as by telephone. What they say of their way is compared
with what passed the wires; the data itself is encrypted.
"""

from __future__ import annotations

import base64
import json
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from napt_lab.labs.capture import wire as wire_module
from napt_lab.labs.capture.wire import Wire
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads
from tests.browser.chromium import Chromium

pytestmark = [
    pytest.mark.network(timeout=180),
    pytest.mark.slow,
]

YAML = """
internet:
  stun: {address: 198.51.100.10, runs: [stun]}
  turn: {address: 198.51.100.11, runs: [{turn: {user: "alice:secret"}}]}
sites:
  a:
    gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {alice: 10.0.0.7}
  b:
    gateway: {kind: napt, public: 203.0.113.77, private: 10.0.0.1/24}
    hosts: {bob: 10.0.0.9}
"""
NAPT_A, NAPT_B, TURN = "24.9.3.7", "203.0.113.77", "198.51.100.11"
MEGABYTE = 1 << 20
SERVERS = [
    {"urls": "stun:198.51.100.10:3478"},
    {"urls": f"turn:{TURN}:3478", "username": "alice", "credential": "secret"},
]
START = f"""
  window.pc = new RTCPeerConnection({{iceServers: {json.dumps(SERVERS)}}});
  window.got = []; window.size = 0;
  window.described = async description => {{
    await pc.setLocalDescription(description);
    while (pc.iceGatheringState !== 'complete')
      await new Promise(go => pc.addEventListener('icegatheringstatechange', go, {{once: true}}));
    return JSON.stringify(pc.localDescription);
  }};
"""
OFFER = f"""(async () => {{ {START}
  window.channel = pc.createDataChannel('file');
  return await described(await pc.createOffer());
}})()"""
ANSWER = f"""(async offer => {{ {START}
  pc.ondatachannel = event => {{
    event.channel.binaryType = 'arraybuffer';
    event.channel.onmessage = ({{data}}) => {{ got.push(data); size += data.byteLength; }};
  }};
  await pc.setRemoteDescription(offer);
  return await described(await pc.createAnswer());
}})"""
SEND = """(content => {
  const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
  for (let at = 0; at < bytes.length; at += 16384) channel.send(bytes.slice(at, at + 16384));
})"""
RECEIVED = """(async () => {
  const reader = new FileReader();
  reader.readAsDataURL(new Blob(got));
  await new Promise(go => reader.addEventListener('load', go));
  return reader.result.split(',')[1];
})()"""
SELECTED = """(async () => {
  const stats = [...(await pc.getStats()).values()];
  const transport = stats.find(each => each.type === 'transport');
  const pair = stats.find(each => each.id === transport.selectedCandidatePairId);
  return [pair.localCandidateId, pair.remoteCandidateId]
    .map(id => stats.find(each => each.id === id).candidateType);
})()"""


@contextmanager
def browsers(net, folder):
    """A page in a browser on each of two PCs."""
    with ExitStack() as stack:
        found = [Chromium(folder / name, net[name].entry) for name in ("alice", "bob")]
        for browser in found:
            stack.callback(browser.close)
        yield [stack.enter_context(browser.page()) for browser in found]


def exchange(alice, bob):
    """A megabyte from alice to bob; the candidates' types at each end."""
    content = base64.b64encode(os.urandom(MEGABYTE)).decode()
    offer = alice.evaluate(OFFER)
    answer = bob.evaluate(f"{ANSWER}({offer})")
    alice.evaluate(f"pc.setRemoteDescription({answer})")
    alice.until("channel.readyState === 'open'")
    alice.evaluate(f"{SEND}({json.dumps(content)})")
    bob.until(f"size === {MEGABYTE}")
    assert bob.evaluate(RECEIVED) == content
    selected = [page.evaluate(SELECTED) for page in (alice, bob)]
    for page in (alice, bob):
        page.evaluate("pc.close()")
    return selected


def carried(wire, where, ends, since):
    """How many bytes of UDP went from one of these addresses to the other."""
    seen = wire.packets(
        where, lambda p: p.protocol == "udp" and (p.source, p.destination) == ends, since=since
    )
    return sum(captured.packet.payload for captured in seen)


def test_a_megabyte_from_browser_to_browser(tmp_path, monkeypatch):
    # Browsers send 10,000 small packets a second: there is room for all until they are read.
    monkeypatch.setattr(wire_module, "FRAMES", 1 << 15)
    topology = loads(YAML.encode(), Path("t.yaml"))
    with (
        Network(topology) as net,
        Wire(net, nodes=["napt_b", "turn"]) as wire,
        browsers(net, tmp_path) as (alice, bob),
    ):
        since = wire.mark()
        selected = exchange(alice, bob)
        assert {"host", "relay"}.isdisjoint({remote for _, remote in selected}), selected
        assert carried(wire, "napt_b:wan0", (NAPT_A, NAPT_B), since) > MEGABYTE
        assert carried(wire, "turn:eth0", (NAPT_A, TURN), since) < MEGABYTE / 10

        # alice's NAPT is symmetric now: no port that was told is the port that is used.
        net.happen("set napt_a mapping=address-and-port-dependent")
        since = wire.mark()
        selected = exchange(alice, bob)
        assert all("relay" in pair for pair in selected), selected
        assert carried(wire, "napt_b:wan0", (NAPT_A, NAPT_B), since) < MEGABYTE / 10
        assert carried(wire, "napt_b:wan0", (TURN, NAPT_B), since) > MEGABYTE
