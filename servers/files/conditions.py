"""Conditional writes (RFC 9110, section 13) over strong entity tags.

Theory of operation. An ETag here is the file's time of change, in nanoseconds, and its size, as
aiohttp's FileResponse has it, which checks the conditions of reads. Each stored file gets a time
of its own, so the tag changes whenever the content does. Asking before overwriting is built from
this:

    no condition            make a new file; 409 when the name is taken
    If-None-Match: *        the same, said in standard words: 412
    If-Match: "etag"        replace just the version that I have seen; 412 when it is another
    If-Match: *             replace the file, whatever it is; 412 when there is none
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import ETag

ANY = ETag("*")


def entity_tag(status: os.stat_result) -> str:
    """The ETag of a file, without its quotes."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


@dataclass(frozen=True, slots=True)
class Conditions:
    """The entity tags of If-Match and If-None-Match; None where the field is absent."""

    match: Sequence[ETag] | None = None
    none_match: Sequence[ETag] | None = None

    def refusal_to_write(self, current: str | None) -> tuple[int, str] | None:
        """The status and reason for which a file must not be written now; None: go ahead.

        `current` is the entity tag of the file that has the name now. If-Match is compared
        strongly, If-None-Match weakly (RFC 9110, section 8.8.3.2).
        """
        exists = current is not None
        if self.match is not None and not exists:
            return 412, "there is no such file to replace"
        if (
            self.match is not None
            and ANY not in self.match
            and ETag(current or "") not in self.match
        ):
            return 412, "the file is another version than the one in If-Match"
        seen = {tag.value for tag in self.none_match or ()}
        if exists and (ANY.value in seen or current in seen):
            return 412, "there is a file of this name already"
        if exists and self.match is None:
            return 409, "there is a file of this name already"
        return None
