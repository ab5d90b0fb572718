"""The keys of an exercise's file: what each is, and what it is if it is left out.

exercise.py reads them; the tables in README.md are printed from here (key_rows.py).
"""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_FILE = 1 << 20  # bytes
MAX_POINTS = 100
POINTS = 1  # if `points` is left out
REQUIRED, NONE = "required", "none"


@dataclass(frozen=True, slots=True)
class Key:
    """One key; `default` is REQUIRED, NONE, or what it is if it is left out."""

    name: str
    default: str
    what: str


EXERCISE = (
    Key(
        "title",
        REQUIRED,
        "one line, shown above the task",
    ),
    Key(
        "task",
        REQUIRED,
        "what the student should achieve, in a few sentences",
    ),
    Key(
        "network",
        REQUIRED,
        "a topology ([topologies/README.md](../../topologies/README.md)). Its `expect:` is probed"
        " when the student types `check`. A sentence there has `points` and `message` as well; "
        "without `points` it gives 1",
    ),
    Key(
        "hints",
        REQUIRED,
        "a list; each `hint` shows one more",
    ),
    Key(
        "solution",
        REQUIRED,
        "a list of lines as typed at the prompt",
    ),
    Key(
        "files",
        NONE,
        "files that are made before the exercise begins, with random bytes: "
        '`{"alice:files/holiday.jpg": 64K}`; '
        f"1K to {LARGEST_FILE >> 10}K each",
    ),
    Key(
        "may-set",
        NONE,
        "the keys of a gateway that the student may change with `set`, as in `[mapping, ports]`",
    ),
    Key(
        "done",
        NONE,
        "a list: what must be true of what the student did",
    ),
    Key(
        "mistakes",
        NONE,
        "a list of usual mistakes. If an answer does not get full marks, each mistake whose facts"
        " are there shows its message",
    ),
    Key(
        "learned",
        NONE,
        "one sentence, shown when the exercise is solved",
    ),
    Key(
        "vary",
        NONE,
        "a list of words of this file, each of which is another one for each student, everywhere "
        "in the file: IPv4 addresses, ports, `alice`, `bob`, `carol`, files such as `photo.jpg`; "
        "for any other word its choices: `vary: [{pc: [desk, laptop]}]`. Addresses of one /24 go "
        "on to share one",
    ),
    Key(
        "cases",
        NONE,
        "a list of parts of an exercise, each with keys as above. A student gets one of them; "
        "without a student it is the first. What it says takes the place of what stands above, "
        "key by key. So it can plant a fault, or say which site has which behavior. All must be "
        "equally hard: as many points, and as many rules, settings and commands in the solution",
    ),
)
DONE = (
    Key(
        "check",
        REQUIRED,
        "the sentence that is shown",
    ),
    Key(
        "fact",
        REQUIRED,
        "a pattern of facts (below)",
    ),
    Key(
        "points",
        str(POINTS),
        f"0 to {MAX_POINTS}",
    ),
    Key(
        "message",
        NONE,
        "shown when it does not hold",
    ),
)
MISTAKE = (
    Key(
        "answer",
        REQUIRED,
        "a list of lines that make this mistake, for `--test`",
    ),
    Key(
        "when",
        REQUIRED,
        "a list of patterns of facts; all of them must hold",
    ),
    Key(
        "says",
        REQUIRED,
        "the message that helps",
    ),
)


def names(keys: tuple[Key, ...], *, required: bool = False) -> tuple[str, ...]:
    """The names of keys: of all, or of those that must be there."""
    return tuple(key.name for key in keys if not required or key.default == REQUIRED)
