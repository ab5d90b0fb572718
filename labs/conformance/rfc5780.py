"""RFC 5780: a client finds out what the NAPT does. What it finds must be what is set."""

from __future__ import annotations

from napt_lab.labs.conformance import udp_checks
from napt_lab.labs.conformance.conversation import open_tcp
from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.requirement import Chapter

CHAPTER = Chapter(5780, "what a client finds out")
test = CHAPTER.test


@test("4.3", "MAY", "the mapping behavior can be set, and a client finds the one that is set")
def mapping(t: Exam) -> None:
    t.require_as_set(udp_checks.measured_mapping(t.open_udp, t), t.mapping_setting)


@test("4.3 TCP", "MAY", "the same for TCP")
def mapping_of_tcp(t: Exam) -> None:
    seen = udp_checks.measured_mapping(lambda *hosts, **ports: open_tcp(t, *hosts, **ports), t)
    t.require_as_set(seen, t.mapping_setting)


@test("4.4", "MAY", "the filtering behavior can be set, and a client finds the one that is set")
def filtering(t: Exam) -> None:
    t.require_as_set(udp_checks.filtering(t, t.host("x1")), t.filtering_setting)
