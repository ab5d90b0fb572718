"""What a test raises unless the requirement is met."""

from __future__ import annotations


class Violation(Exception):
    """The NAPT did not do what the requirement asks; the message says what it did."""


class Coincidence(Exception):
    """A packet came in by another test's mapping, which by chance has the port."""


class NotApplicable(Exception):
    """The requirement does not apply to this NAPT; the message says why."""


class NotProbed(Exception):
    """The test itself could not be carried out; the message says what was missing."""
