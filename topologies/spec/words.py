"""The words of a sentence in `expect:`, from left to right, and how single ones are read.

All functions raise ValueError with the message for the writer: what is wrong; what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address

from napt_lab.topologies.spec.errors import not_one_of, quoted
from napt_lab.topologies.spec.roster import Roster
from napt_lab.topologies.spec.scalars import interface, port

_LIKE_AN_ADDRESS = re.compile(r"[0-9][0-9.]*")


class Words:
    """The words that have not been read yet."""

    def __init__(self, text: str) -> None:
        self._words = text.split()
        self._position = 0

    def peek(self) -> str:
        """The next word, which stays; empty at the end."""
        return self._words[self._position] if self._position < len(self._words) else ""

    def next(self, what: str) -> str:
        """The next word, which should be `what`."""
        if not self.peek():
            before = f" after {quoted(self._words[-1])}" if self._words else ""
            raise ValueError(f"the sentence ends{before}; allowed: {what}")
        self._position += 1
        return self._words[self._position - 1]

    def expect(self, *words: str) -> None:
        """These words come next."""
        for word in words:
            given = self.next(repr(word))
            if given != word:
                after = self._words[self._position - 2]
                wrong = f"{quoted(given)} stands after {quoted(after)}"
                raise ValueError(not_one_of(wrong, given, [word]))

    def clauses(self, what: Mapping[str, str]) -> dict[str, str]:
        """What is left, as pairs of keyword and value; `what` says which, and what values are."""
        found: dict[str, str] = {}
        while self.peek():
            keyword = self.next("a clause")
            if keyword not in what:
                raise ValueError(
                    not_one_of(f"{quoted(keyword)} cannot stand here", keyword, what)
                    if what
                    else f"{quoted(keyword)} stands after the end; allowed: nothing more"
                )
            if keyword in found:
                raise ValueError(f"{keyword!r} stands here twice; allowed: once")
            found[keyword] = self.next(what[keyword])
            # In `because no-rule at napt_a`, `at` is where the packet died.
            if keyword == "because" and self.peek() == "at":
                self.next("at")
                found["because at"] = self.next("a node")
        return found


def is_like_an_address(text: str) -> bool:
    """Whether `text` was meant as an address: no name begins with a digit."""
    return bool(_LIKE_AN_ADDRESS.match(text))


def endpoint(text: str) -> tuple[str, int | None]:
    """`alice:8080`, `24.9.3.7:8080`, or either without a port."""
    who, colon, number = text.partition(":")
    if not who or (colon and not number):
        raise ValueError(
            f"{quoted(text)} is not an endpoint; allowed: NODE:PORT or ADDRESS:PORT, without a "
            "space, as in stackoverflow:80"
        )
    return who, port(number) if colon else None


def address(text: str, roster: Roster) -> IPv4Address:
    """An address as such, or a node's: a host's own, a gateway's public one."""
    if not is_like_an_address(text):
        return roster.address(text)
    if "/" in text:
        raise ValueError(f"{quoted(text)} is a network; allowed: an address, as in 198.51.100.10")
    return interface(text).ip
