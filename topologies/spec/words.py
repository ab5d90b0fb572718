"""Reads the words of a sentence in `expect:` from left to right.

All functions raise ValueError with the message for the file's writer: what is wrong; what is
allowed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address

from napt_lab.topologies.spec.errors import not_one_of, quoted
from napt_lab.topologies.spec.roster import Roster
from napt_lab.topologies.spec.scalars import interface, port

_LIKE_AN_ADDRESS = re.compile(r"[0-9][0-9.]*")


class Words:
    """The words of a sentence that have not been read yet."""

    def __init__(self, text: str) -> None:
        self._words = text.split()
        self._position = 0

    def peek(self) -> str:
        """The next word, without reading it; empty at the end."""
        return self._words[self._position] if self._position < len(self._words) else ""

    def next(self, what: str) -> str:
        """Read the next word; `what` says in the error message which words are allowed."""
        if not self.peek():
            before = f" after {quoted(self._words[-1])}" if self._words else ""
            raise ValueError(f"the sentence ends{before}; allowed: {what}")
        self._position += 1
        return self._words[self._position - 1]

    def expect(self, *words: str) -> None:
        """Read these words, which must come next."""
        for word in words:
            self.one_of(word)

    def one_of(self, *choices: str) -> str:
        """Read a word, which must be one of these."""
        given = self.next(", ".join(map(repr, choices)))
        if given not in choices:
            after = self._words[self._position - 2]
            wrong = f"{quoted(given)} cannot follow {quoted(after)}"
            raise ValueError(not_one_of(wrong, given, choices))
        return given

    def clauses(self, what: Mapping[str, str], reasons: Collection[str] = ()) -> dict[str, str]:
        """The rest, as pairs of keyword and value; `what`: each keyword, and its allowed values.

        `reasons`: those that may follow `because`.
        """
        found: dict[str, str] = {}
        while self.peek():
            keyword = self.next("a clause")
            if keyword not in what:
                raise ValueError(
                    not_one_of(f"{quoted(keyword)} is not allowed here", keyword, what)
                    if what
                    else f"{quoted(keyword)} is one word too many; allowed: the end of the sentence"
                )
            if keyword in found:
                raise ValueError(f"{keyword!r} is given twice; allowed: once")
            found[keyword] = given = self.next(what[keyword])
            # Now, for a reason in the writer's own words goes on with words that are no clauses.
            if keyword == "because" and given not in reasons:
                raise ValueError(not_one_of(f"{quoted(given)} is not a reason", given, reasons))
            # In `because no-rule at napt_a`, `at` is the node where the packet was dropped.
            if (at := f"{keyword} at") in what and self.peek() == "at":
                self.next("at")
                found[at] = self.next(what[at])
        return found


def is_like_an_address(text: str) -> bool:
    """Whether `text` was meant as an address: a name cannot begin with a digit."""
    return bool(_LIKE_AN_ADDRESS.match(text))


def endpoint(text: str) -> tuple[str, int | None]:
    """`alice:8080`, `24.9.3.7:8080`, or either without a port."""
    who, colon, number = text.partition(":")
    if not who or (colon and not number):
        raise ValueError(
            f"{quoted(text)} is not an endpoint; allowed: NODE:PORT or ADDRESS:PORT without a "
            "space, as in stackoverflow:80"
        )
    return who, port(number) if colon else None


def address(text: str, roster: Roster) -> IPv4Address:
    """The address that `text` names: itself, a host's own, or a gateway's public address."""
    if not is_like_an_address(text):
        return roster.address(text)
    if "/" in text:
        raise ValueError(f"{quoted(text)} is a network; allowed: an address, as in 198.51.100.10")
    return interface(text).ip
