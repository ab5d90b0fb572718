"""OpaqueString: usernames, realms and passwords as text that compares equal (RFC 8265, 4.2).

Theory of operation. The same letter can be typed as one code point or as two (é, or e and an
accent), and a space has many forms. Both sides of the long-term credential mechanism hash the
text, so both prepare it by the same profile: other spaces become U+0020, then Unicode
Normalization Form C. Control characters, unassigned code points and the empty string are not
valid. `precis_i18n` has the profile's tables.
"""

from __future__ import annotations

import argparse

from precis_i18n import get_profile

from napt_lab.servers.shared.arguments import account

_PROFILE = get_profile("OpaqueString")


def opaque_string(text: str) -> str:
    """The text as the profile prepares it. Raises ValueError, which says what is not valid."""
    try:
        return _PROFILE.enforce(text)
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!r} is not valid (RFC 8265): {error.reason}") from error


def realm_argument(text: str) -> str:
    """A realm on a command line."""
    try:
        return opaque_string(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def account_argument(text: str) -> tuple[str, str]:
    """NAME:PASSWORD on a command line."""
    name, password = account(text)
    return realm_argument(name), realm_argument(password)
