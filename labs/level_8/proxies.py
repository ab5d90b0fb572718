"""Two ways without translation: a proxy makes a second connection.

told:      pc ══ TCP to 10.0.0.1:3128 ══ proxy ══ TCP ══ stackoverflow
not told:  pc ══ TCP "to" 151.101.1.69:80 ══ tproxy ══ TCP ══ stackoverflow
"""

from __future__ import annotations

from napt_lab.labs.capture.packets import SYN
from napt_lab.labs.level_8.checks import (
    FILES,
    GATEWAY,
    INITIAL_TTL,
    PUBLIC,
    STACKOVERFLOW,
    curl,
    knock,
    require_only_to,
    require_two_connections,
    server_sees,
    wait_for_reset,
)
from napt_lab.labs.shared_steps.commands import (
    CURL_REFUSED,
    CURL_RESET,
    CURL_TIMED_OUT,
    require_failure,
    require_success,
)
from napt_lab.labs.shared_steps.evidence import (
    WAIT,
    answer_where_it_ends,
    find_handshake,
    is_syn_to,
)
from napt_lab.labs.stage.prediction import Choice, choose
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Part
from napt_lab.topologies.network.programs import INTERCEPTED_PORT, PROXY_PORT

PAGE = f"http://{STACKOVERFLOW}/"
PROXY = f"http://{GATEWAY}:{PROXY_PORT}"

proxy = Part("proxy", topology="level-8-proxy.yaml", title="An explicit proxy")
transparent = Part(
    "transparent-proxy", topology="level-8-transparent-proxy.yaml", title="A transparent proxy"
)


@proxy.step(
    "A proxy that the PC is told to use",
    say="This home's gateway forwards no packets, but it runs a proxy. `curl -x` tells curl on "
    "the PC to use it.",
    ask="To which address does the PC send its packets?",
    predict=choose(
        Choice(
            STACKOVERFLOW,
            "151.101.1.69: to stackoverflow, from which it wants the page",
            "A PC addresses its packets to the server that it wants, whatever is in between.",
        ),
        Choice(GATEWAY, "10.0.0.1: to the proxy"),
        Choice(
            PUBLIC,
            "24.9.3.7: to the proxy's public address",
            "A proxy is a host on the Internet.",
        ),
        exercise="8/proxy",
    ),
    proves=["8.proxy"],
)
def through_the_proxy(stage: Stage) -> None:
    since, log_since = stage.wire.mark(), stage.log.mark()
    fetched = stage.run("pc", *curl(PAGE, "-x", PROXY))
    for sent in stage.wire.packets("pc:eth0", lambda p: p.is_tcp(flags=SYN), since=since)[:1]:
        stage.answer(str(sent.packet.destination), f"pc:eth0: {sent.packet}")
    with stage.claim("8.proxy", "stackoverflow sees the proxy's public address") as claim:
        server_sees(stage, claim, fetched, log_since)
    with stage.claim("8.proxy", "the PC's own packets are addressed to the proxy") as claim:
        require_only_to(stage, claim, GATEWAY, since)
    with stage.claim("8.proxy", "there are two TCP connections") as claim:
        near = find_handshake(stage.wire, "pc:eth0", PROXY_PORT, since)
        far = find_handshake(stage.wire, "stackoverflow:eth0", 80, since)
        claim.require(far.syn.packet.source == PUBLIC, f"the second begins at {PUBLIC}")
        require_two_connections(claim, near, far)


@proxy.step(
    "A PC that is not told",
    say="The same fetch, but curl is not told to use the proxy.",
    ask="Where does the PC's SYN end?",
    predict=choose(
        Choice(
            "stackoverflow",
            "at stackoverflow: what the proxy is not asked to do, the gateway does",
            "Every gateway forwards packets.",
        ),
        Choice(
            "pc",
            "on the PC: without the proxy it knows no way to stackoverflow",
            "A PC knows which servers it can reach.",
        ),
        Choice("proxy", "at the gateway"),
        exercise="8/proxy",
    ),
    proves=["8.proxy"],
)
def not_told(stage: Stage) -> None:
    since = stage.wire.mark()
    alone = stage.start("pc", *knock(PAGE))
    told = stage.start("pc", *curl(PAGE, "-x", PROXY, "-o", "/dev/null"))
    with stage.claim("8.proxy", "without the proxy, the PC's SYN ends at the gateway") as claim:
        syn = stage.wire.wait_for(
            "proxy:lan0", is_syn_to(80), deadline=WAIT, what="the PC's SYN", since=since
        )
        claim.require(True, f"proxy:lan0: {syn.packet}")
        require_failure(claim, alone.finish(), CURL_TIMED_OUT)
        passed = stage.wire.packets(
            "proxy:wan0", lambda p: p.sequence == syn.packet.sequence, since=since
        )
        claim.require(not passed, f"proxy:wan0: {len(passed)} packets with this number")
    answer_where_it_ends(stage, "pc:eth0", 80, STACKOVERFLOW, since)
    with stage.claim(
        "8.proxy", "at the same time a fetch through the proxy works (control)"
    ) as claim:
        require_success(claim, told.finish(), "curl -x")
        asked = stage.wire.packets("proxy:wan0", is_syn_to(80, STACKOVERFLOW), since=since)
        claim.require(bool(asked), f"proxy:wan0: {len(asked)} SYN from the proxy itself")


@transparent.step(
    "A proxy that the PC does not know",
    say="Now nothing is configured on the PC. Its gateway intercepts all packets to TCP port "
    f"{INTERCEPTED_PORT}, whatever their destination address, and gives them to a proxy.",
    ask="With which host is the PC's TCP connection now?",
    predict=choose(
        Choice("tproxy", "with its gateway"),
        Choice(
            "stackoverflow",
            "with stackoverflow: its packets are addressed to it",
            "A connection is always with the host to which its packets are addressed.",
        ),
        Choice(
            "internet",
            "with the Internet's router, the first that knows stackoverflow",
            "Each router ends a connection, and begins another.",
        ),
        exercise="8/proxy",
    ),
    proves=["8.transparent-proxy"],
)
def through_the_transparent_proxy(stage: Stage) -> None:
    since, log_since = stage.wire.mark(), stage.log.mark()
    fetched = stage.run("pc", *curl(PAGE))
    answer_where_it_ends(stage, "pc:eth0", 80, STACKOVERFLOW, since)
    with stage.claim("8.transparent-proxy", "stackoverflow sees the public address") as claim:
        server_sees(stage, claim, fetched, log_since)
    with stage.claim(
        "8.transparent-proxy", "the PC's packets are addressed to stackoverflow"
    ) as claim:
        require_only_to(stage, claim, STACKOVERFLOW, since)
    with stage.claim("8.transparent-proxy", "yet there are two TCP connections") as claim:
        near = find_handshake(stage.wire, "pc:eth0", 80, since)
        far = find_handshake(stage.wire, "stackoverflow:eth0", 80, since)
        require_two_connections(claim, near, far)
        ttl = near.syn_ack.packet.ttl
        claim.require(
            ttl == INITIAL_TTL,
            f"the SYN-ACK that the PC got has TTL {ttl}: it has passed no router",
        )


@transparent.step(
    "A closed port that seems open",
    say="On `files` no program listens on port 80, so `files` refuses connections to it. The PC "
    "dials this port through the transparent proxy.",
    ask="What does the PC see of that?",
    predict=choose(
        Choice(
            "refused",
            "its connection is refused",
            "A connection is open only when the server itself has accepted it.",
        ),
        Choice("accepted", "its connection is accepted, and then reset"),
        Choice("silence", "no answer comes", "A proxy passes a refusal on as silence."),
    ),
    proves=["8.transparent-proxy"],
)
def a_closed_port(stage: Stage) -> None:
    since, log_since = stage.wire.mark(), stage.log.mark()
    url = f"http://{FILES}/"
    direct = stage.start("stackoverflow", *curl(url))
    fetch = stage.start("pc", *curl(url))
    with stage.claim(
        "8.transparent-proxy", "the PC's handshake with the closed port succeeds"
    ) as claim:
        came = {CURL_REFUSED: "refused", CURL_RESET: "accepted", CURL_TIMED_OUT: "silence"}
        fetched = fetch.finish()
        stage.answer(came.get(fetched.status, "the page"), f"pc: {fetched.stderr.strip()}")
        handshake = find_handshake(stage.wire, "pc:eth0", 80, since)
        for captured in (handshake.syn, handshake.syn_ack, handshake.ack):
            claim.require(True, f"pc:eth0: {captured.packet}")
        require_failure(claim, fetched, CURL_RESET)
    with stage.claim(
        "8.transparent-proxy", "the server refused the connection of the proxy"
    ) as claim:
        refusal = wait_for_reset(stage, "files:eth0", FILES, PUBLIC, since)
        claim.require(True, f"files:eth0: {refusal.packet}")
        failed = stage.wait_for_event("tproxy", "failed", since=log_since)
        claim.require(True, f"tproxy: {failed.fields['original']}: {failed.fields['reason']}")
        claim.require(
            refusal.packet.sequence != handshake.syn_ack.packet.sequence,
            f"the PC's SYN-ACK did not come from the server ({handshake.syn_ack.packet})",
        )
    with stage.claim("8.transparent-proxy", "a host without a proxy is refused (control)") as claim:
        require_failure(claim, direct.finish(), CURL_REFUSED)
