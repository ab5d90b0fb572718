"""A variant of an exercise for each student: the same task with other addresses, ports and names.

Theory of operation. `vary:` in an exercise lists words of its text. In a student's variant each of
them is another word of the same kind, everywhere in the file: in the task, the network, the
solution, the messages. So a variant is as hard as the exercise, and its solution is derived, not
written. What a word becomes is drawn from HMAC-SHA256 (RFC 2104) with the student's key, so it is
the same on each machine. `cases:` lists parts of an exercise, of which a student gets one: a fault,
or which site has which behavior.

The course has one secret. The key of a student is derived from the secret and the ID, so that it
can be handed out: with it a student gets this one variant and no other.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from napt_lab.topologies.spec.errors import quoted

KEY_LENGTH, CHECK_LENGTH = 16, 4  # characters of base32 (RFC 4648), the second for mistyped ones
MOST_ID = 64  # characters
MOST_DRAWS = 1000  # until a word is found that the exercise does not have yet

_FILE = re.compile(r"[a-z]+(\.[a-z0-9]+)")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_TOKEN = re.compile(r"\w+(?:\.\w+)*")

_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))  # RFC 1918
_SHARED = (IPv4Network("100.64.0.0/10"),)  # RFC 6598
#: No address of these has a special purpose (RFC 6890).
_PUBLIC = tuple(IPv4Network(f"{n}.0.0.0/8") for n in (23, 31, 45, 62, 77, 81, 89, 93, 109, 141,
                                                       151, 176, 185, 193, 212, 217))  # fmt: skip
_PORTS = tuple(map(str, (*range(2000, 8000), *range(8100, 10000))))  # 80xx are the documents'
_WOMEN = ("alice", "carol", "erin", "mona", "anna", "clara", "dora", "elsa", "fiona", "greta",
          "hana", "ines", "julia", "karin", "laura", "maria", "nina", "olga", "petra", "rosa",
          "sara", "tina", "vera")  # fmt: skip
_MEN = ("bob", "dave", "adam", "boris", "carlo", "emil", "felix", "georg", "hugo", "ivan", "jonas",
        "karl", "leon", "marco", "nico", "oscar", "paul", "rico", "simon", "tom",
        "victor")  # fmt: skip
_FILES = ("atlas", "beach", "bridge", "castle", "desert", "forest", "garden", "harbor", "island",
          "lagoon", "market", "meadow", "museum", "orchard", "river", "station", "sunset", "temple",
          "valley", "village")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Student:
    """Whose variant it is."""

    id: str
    key: str

    @staticmethod
    def of(who: str, secret: bytes) -> Student:
        """By the course's secret. Raises ValueError for an ID that cannot be one."""
        who = unicodedata.normalize("NFC", who)  # file systems differ
        if not who.isprintable() or who != who.strip() or ":" in who or not 0 < len(who) <= MOST_ID:
            allowed = f"1 to {MOST_ID} characters, without ':'"
            raise ValueError(f"{quoted(who)} is not a student's ID; allowed: {allowed}")
        return Student(who, _base32(hmac.digest(secret, who.encode(), "sha256"))[:KEY_LENGTH])

    @property
    def code(self) -> str:
        """What is handed out to this student, ID:KEY."""
        return f"{self.id}:{self.key}{self._check}"

    @property
    def _check(self) -> str:
        return _base32(hashlib.sha256(f"{self.id}:{self.key}".encode()).digest())[:CHECK_LENGTH]

    @staticmethod
    def from_code(code: str) -> Student:
        """The student with this ID:KEY. Raises ValueError if there is a mistake in it."""
        who, _, key = code.strip().partition(":")
        student = Student(who, key.upper()[:KEY_LENGTH])
        if student.code != f"{who}:{key.upper()}":
            length = KEY_LENGTH + CHECK_LENGTH
            wrong = "a letter is wrong"
            if len(key) != length:
                how = "short" if len(key) < length else "long"
                wrong = f"the key is too {how} ({len(key)} characters; allowed: {length})"
            raise ValueError(f"{quoted(code)} is not ID:KEY as it was handed out: {wrong}")
        return student


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode()


@dataclass(frozen=True, slots=True)
class Varied:
    """A word that varies, and the words that may take its place; none: those of its kind."""

    word: str
    choices: tuple[str, ...] = ()

    @property
    def distinctive(self) -> bool:
        """Whether another student hardly has the same: an address or a port."""
        return not self.choices and self.word[0].isdigit()

    def check(self) -> None:
        """Raises ValueError for a word of which no kind is known."""
        if not self.choices:
            _kind(self.word)
        for choice in (self.word, *self.choices):
            if not _WORD.fullmatch(choice):
                raise ValueError(f"{quoted(choice)} is not a word; allowed: letters, digits, . _ -")


def draw_values(
    words: Iterable[str], varied: Sequence[Varied], student: Student, exercise: str
) -> dict[str, str]:
    """What each of these words is for this student, in the exercise of this name and words."""
    taken = {*words, *(each.word for each in varied)}
    networks: dict[str, str] = {}  # what shares a /24 goes on to share one
    values: dict[str, str] = {}

    def first_free(what: str, candidate: Callable[[int], str]) -> str:
        for attempt in range(MOST_DRAWS):
            drawn = candidate(attempt)
            if drawn not in taken:
                taken.add(drawn)
                return drawn
        raise ValueError(f"{quoted(what)}: all that could take its place is in this exercise")

    for each in varied:
        kind = each.choices or _kind(each.word)
        if isinstance(kind, _Addresses):
            near, _, own = each.word.rpartition(".")
            if near not in networks:
                networks[near] = first_free(
                    near, functools.partial(kind.network, student, exercise, near)
                )
            values[each.word] = first_free(
                each.word, functools.partial(_host, student, exercise, networks[near], own)
            )
        else:
            values[each.word] = first_free(
                each.word, functools.partial(_choice, student, exercise, kind, each.word)
            )
    return values


def replaced(text: str, values: Mapping[str, str]) -> str:
    """The text with other words: each as a whole, so not 80 in 8080, nor an option."""
    return _whole(tuple(values)).sub(lambda match: values[match[0]], text) if values else text


@functools.cache
def _whole(words: tuple[str, ...]) -> re.Pattern[str]:
    any_of = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.compile(rf"(?<![\w.])(?<!--)(?:{any_of})(?!\w|\.[0-9])")


def words_of(text: str) -> set[str]:
    """The words and addresses of a text."""
    return set(_TOKEN.findall(text))


def draw(student: Student, exercise: str, what: str, below: int) -> int:
    """A number from 0 that is always the same for these."""
    digest = hmac.digest(student.key.encode(), f"{exercise}\0{what}".encode(), "sha256")
    return int.from_bytes(digest) % below


def _choice(
    student: Student, exercise: str, choices: Sequence[str], word: str, attempt: int
) -> str:
    return choices[draw(student, exercise, f"{word} {attempt}", len(choices))]


def _host(student: Student, exercise: str, network: str, own: str, attempt: int) -> str:
    """An address in a /24; that of the network itself stays so."""
    number = 2 + draw(student, exercise, f"{own} in {network} {attempt}", 252)
    return f"{network}.{0 if own == '0' else number}"


@dataclass(frozen=True, slots=True)
class _Addresses:
    blocks: tuple[IPv4Network, ...]

    def network(self, student: Student, exercise: str, near: str, attempt: int) -> str:
        """The first three numbers of a /24 in one of the blocks."""
        what = f"{near} {attempt}"
        block = self.blocks[draw(student, exercise, f"block of {what}", len(self.blocks))]
        number = draw(student, exercise, f"network of {what}", 1 << (24 - block.prefixlen))
        return str(block[0] + 256 * number).rpartition(".")[0]


@functools.cache
def _kind(word: str) -> _Addresses | tuple[str, ...]:
    """What may take the place of a word. Raises ValueError if nothing is known."""
    try:
        address = IPv4Address(word)
    except ValueError:
        pass
    else:
        for blocks in (_PRIVATE, _SHARED):
            if any(address in block for block in blocks):
                return _Addresses(blocks)
        return _Addresses(_PUBLIC)
    if word.isascii() and word.isdecimal() and 0 < int(word) < 1 << 16:
        return _PORTS
    for names in (_WOMEN, _MEN):
        if word in names:
            return names
    if match := _FILE.fullmatch(word):
        return tuple(f"{name}{match[1]}" for name in _FILES)
    raise ValueError(
        f"{quoted(word)}: what could take its place? allowed: an IPv4 address, a port, alice, bob, "
        "carol, a file as photo.jpg, or a list of choices, as in {pc: [desk, laptop]}"
    )
