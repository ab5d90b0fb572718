"""A rule that is not used ends, although its connection is not closed."""

from __future__ import annotations

from napt_lab.labs.capture.packets import FIN
from napt_lab.labs.level_8.checks import (
    STACKOVERFLOW,
    by_internal,
    open_connections,
    show_rule,
    story,
    tell_connections,
    wait_for_end,
)
from napt_lab.labs.shared_steps.dropped import INSIDE, OUTSIDE, is_drop, require_dropped
from napt_lab.labs.shared_steps.evidence import WAIT
from napt_lab.labs.stage.prediction import Choice, choose
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Part
from napt_lab.topologies.network.processes import DeadlinePassed
from napt_lab.topologies.network.programs import READY_SECONDS

WEB = f"{STACKOVERFLOW}:80"
IDLE = 2.0  # seconds: `idle` in the topology
SLACK = 1.0  # seconds that a busy machine may take
OFTEN = 0.5  # seconds between two uses of the connection that is in use
SILENT, USED = "0", "1"  # connections of the PC, by their numbers

idle = Part("idle", topology="level-8-idle.yaml", title="A rule that is not used")


@idle.step(
    "Silence",
    say="The PC opens two connections and closes neither. It uses one again and again, and the "
    "other "
    f"one not at all. This NAPT ends a rule that was not used for {IDLE:g} s.",
    ask="What happens when the PC uses the silent connection again?",
    predict=choose(
        Choice(
            "answered",
            "it works as before",
            "As long as a connection is not closed, its rule stays.",
        ),
        Choice(
            "new rule",
            "the NAPT makes a new rule, with another port",
            "Every packet from inside makes a rule, if there is none.",
        ),
        Choice("no-connection", "the NAPT drops its packet"),
    ),
    proves=["8.gc-idle"],
)
def silence(stage: Stage) -> None:
    server = stage.serve("stackoverflow", "web-server", "--port", "80", name="web")
    server.wait_for("ready", deadline=READY_SECONDS)
    since, log_since = stage.wire.mark(), stage.log.mark()
    opened = open_connections(stage, "pc", WEB, "--count", "2", "--patience", "1")
    silent, used = opened.fields["first"]
    napt = stage.net.napt("napt")
    before = by_internal(napt.rules())
    answers = _use_until_the_other_ends(stage, silent, log_since)

    with stage.claim("8.gc-idle", f"the rule that was not used for {IDLE:g} s has ended") as claim:
        ended = wait_for_end(stage, "napt", silent, log_since, WAIT)
        last = stage.wire.packets("napt:lan0", lambda p: silent in (p.from_, p.to), since=since)[-1]
        after = ended.time - last.time
        claim.require(ended.fields["why"] == "idle", story(ended), "the reason should be: idle")
        claim.require(
            IDLE - 0.05 <= after <= IDLE + SLACK,
            f"{after:.2f} s after its last packet ({last.packet})",
            f"it should be {IDLE:g} s, at most {IDLE + SLACK:g} s",
        )
        claim.require(
            (still := by_internal(napt.rules()).get(silent)) is None,
            "it is not in the table" if still is None else f"still listed: {show_rule(still)}",
        )
    with stage.claim("8.gc-idle", "the rule that was in use stays (control)") as claim:
        kept = by_internal(napt.rules()).get(used)
        claim.require(kept is not None, f"{used} has {'a' if kept else 'no'} rule")
        assert kept is not None
        claim.require(
            kept["id"] == before[used]["id"] and kept["packets_in"] > before[used]["packets_in"],
            f"{show_rule(kept)}, {kept['age']:.1f} s ago; {answers} answers since",
            f"it should be the same rule (id {before[used]['id']}; now {kept['id']}), and count "
            f"packets that come in ({before[used]['packets_in']} before, {kept['packets_in']} now)",
        )

    tell_connections(stage, "pc", f"use {USED}")  # or it would be idle itself before long
    since, log_since = stage.wire.mark(), stage.log.mark()
    tried = tell_connections(stage, "pc", f"use {SILENT}")
    drops = [event for event in stage.log.since(log_since) if is_drop(event, source=silent)]
    anew = by_internal(napt.rules()).get(silent)
    if anew is not None:
        found = "answered" if anew["id"] == before[silent]["id"] else "new rule"
        stage.answer(found, f"napt: {show_rule(anew)}")
    for drop in drops[:1]:
        stage.answer(
            drop.fields["reason"], f"napt dropped {drop.fields['packet']}: {drop.fields['meaning']}"
        )
    with stage.claim("8.gc-idle", "the PC's packet for the ended rule is dropped") as claim:
        require_dropped(
            stage, claim, INSIDE, lambda p: p.from_ == silent and p.payload > 0,
            ("no-connection",), since, log_since,
        )  # fmt: skip
        claim.require(
            (answered := tried.fields["answered"]) == 0,
            f"the PC gets {answered or 'no'} answer{'s' if answered > 1 else ''}",
            "it should get none",
        )

    since, log_since = stage.wire.mark(), stage.log.mark()
    tell_connections(stage, "pc", f"use {USED}")
    server.terminate()
    with stage.claim("8.gc-idle", "the server's packet for it is dropped, too") as claim:
        external = before[silent]["external"]
        require_dropped(
            stage, claim, OUTSIDE, lambda p: p.to == external, ("no-rule",), since, log_since
        )
    with stage.claim("8.gc-idle", "the packet for the other rule gets through (control)") as claim:
        passed = stage.wire.wait_for(
            "napt:lan0",
            lambda p: p.to == used and bool(p.flags & FIN),
            deadline=WAIT,
            what="the server's FIN",
            since=since,
        )
        claim.require(True, f"napt:lan0: {passed.packet}")


def _use_until_the_other_ends(stage: Stage, silent: str, log_since: int) -> int:
    """Keep one connection in use until the rule of the other has ended; how many answers came."""
    answers = 0
    for _ in range(int((IDLE + SLACK) / OFTEN) + 2):
        answers += tell_connections(stage, "pc", f"use {USED}").fields["answered"]
        try:
            wait_for_end(stage, "napt", silent, log_since, OFTEN)
        except DeadlinePassed:
            continue
        break
    return answers
