"""Conditional requests (RFC 9110, section 13) over strong entity tags.

Theory of operation. An ETag here is the file's SHA-256, so it changes exactly when the
content does. Asking before overwriting is built from this:

    no condition            make a new file; 409 when the name is taken
    If-None-Match: *        the same, said in standard words: 412
    If-Match: "etag"        replace just the version that I have seen; 412 when it is another
    If-Match: *             replace whatever is there; 412 when nothing is
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ANY = "*"
UNKNOWN = ""  # the tag of a file whose digest is not known: equal to nothing but ANY
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def entity_tag(digest: bytes) -> str:
    """The ETag of a file with this SHA-256, as it stands in a header field."""
    return f'"{digest.hex()}"'


@dataclass(frozen=True, slots=True)
class Conditions:
    """The entity tags of If-Match and If-None-Match; None where the field is absent."""

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None

    @classmethod
    def of(cls, if_match: str | None, if_none_match: str | None) -> Conditions:
        """From the fields' values. What is not an entity tag equals none."""
        return cls(_tags(if_match), _tags(if_none_match))

    def match_holds(self, current: str | None) -> bool:
        """If-Match against the current entity tag (None: there is no file).

        Compared strongly (section 8.8.3.2): a weak tag is never equal to one of ours.
        """
        return self.match is None or _listed(current, self.match)

    def none_match_holds(self, current: str | None) -> bool:
        """If-None-Match against the current entity tag, compared weakly."""
        if self.none_match is None:
            return True
        return not _listed(current, frozenset(t.removeprefix("W/") for t in self.none_match))

    def refusal_to_write(self, current: str | None) -> tuple[int, str] | None:
        """The status and reason for which a file must not be written now; None: go ahead."""
        if not self.match_holds(current):
            if current is None:
                return 412, "there is no such file to replace"
            return 412, "the file is another version than the one in If-Match"
        if not self.none_match_holds(current):
            return 412, "there is a file of this name already"
        if current is not None and self.match is None:
            return 409, "there is a file of this name already"
        return None


def _tags(field: str | None) -> frozenset[str] | None:
    if field is None:
        return None
    return frozenset({ANY} if field.strip() == ANY else _TAG.findall(field))


def _listed(current: str | None, tags: frozenset[str]) -> bool:
    return current is not None and (ANY in tags or current in tags)
