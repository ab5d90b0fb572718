"""RFC 3022, and the RFCs of the headers themselves: what a NAPT must change, and must not."""

from __future__ import annotations

from napt_lab.labs.conformance import header_checks
from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.requirement import Chapter

CHAPTER = Chapter(3022, "headers: what changes, and what does not")
test = CHAPTER.test


@test("4.1 checksums", "MUST", "all checksums hold, for payloads of any length")
def checksums(t: Exam) -> None:
    header_checks.checksums(t)


@test("4.1 no checksum", "MUST", "a UDP checksum of 0, which means none, stays 0")
def no_checksum(t: Exam) -> None:
    header_checks.absent_checksum_stays_absent(t)


@test("4.1 sum of 0", "MUST", "a UDP checksum that computes to 0 is sent as 65,535 (RFC 768)")
def zero_checksum(t: Exam) -> None:
    header_checks.checksum_never_becomes_absent(t)


@test("4.1 damaged", "MUST NOT", "a wrong checksum is corrected")
def damaged(t: Exam) -> None:
    header_checks.damage_stays_visible(t)


@test("TTL", "MUST", "the time to live is one less, both ways (RFC 1812, 5.3.1)")
def time_to_live(t: Exam) -> None:
    header_checks.time_to_live(t)


@test("DSCP and ECN", "MUST NOT", "the class of service or congestion marks are changed (RFC 3168)")
def class_and_congestion(t: Exam) -> None:
    header_checks.class_and_congestion(t)


@test("DF", "MUST NOT", "the flag Don't Fragment is changed, set or not")
def dont_fragment(t: Exam) -> None:
    header_checks.dont_fragment(t)


@test("TCP options", "MUST NOT", "TCP options are changed, known or unknown (RFC 9293, 3.1)")
def tcp_options(t: Exam) -> None:
    header_checks.tcp_options(t)


@test("TCP urgent", "MUST NOT", "flags, window and urgent pointer are changed")
def urgent(t: Exam) -> None:
    header_checks.tcp_fields(t)


@test("IP options", "MUST NOT", "IP options without addresses are removed (RFC 791)")
def ip_options(t: Exam) -> None:
    header_checks.ip_options(t)


@test(
    "other protocols",
    "MUST NOT",
    "a packet that cannot be translated leaves with a private address",
)
def nothing_private(t: Exam) -> None:
    header_checks.nothing_private_gets_out(t)


@test("spoofed", "MUST NOT", "a packet from outside with a private source gets in")
def spoofed(t: Exam) -> None:
    header_checks.spoofed_is_refused(t)
