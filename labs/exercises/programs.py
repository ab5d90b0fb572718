"""Which command lines may stand in a file that is graded: words in, or a ValueError that says why.

A file with answers may come from a stranger, and grading runs it: on nodes of a sandbox, but with
the rights of the person who grades. So only programs that the exercises are about
may be named, with options that are known here; files are those of the node's own folder; nothing
goes through a shell. At the prompt there is no such limit: there the student is the user.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from napt_lab.topologies.spec.errors import not_one_of, quoted

MAX_WORDS = 30

_ADDRESS = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[a-z][a-z0-9_]{0,12}"
_ENDPOINT = rf"(?:(?:{_ADDRESS}):[0-9]{{1,5}}|\$relayed)"
_FILE = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,60}"
_URL = rf"http://(?:{_ADDRESS})(?::[0-9]{{1,5}})?(?:/(?:{_FILE})?){{0,5}}"
_PORT = r"[0-9]{1,5}"
_NONE = r"(?!)"  # nothing matches it
_SECONDS = r"[0-9]{1,2}(?:\.[0-9]{1,3})?"
_COUNT = r"[1-5]"
_JOINED = re.compile(r"-[A-Za-z]{2,}")
_ACCOUNT = r"[A-Za-z0-9_.@:-]{1,80}"


@dataclass(frozen=True, slots=True)
class Grammar:
    """What may follow a program's name: options (to the form of their value; empty: none), words.

    `word` is the form of every word that is no option.
    """

    options: dict[str, str]
    word: str
    background: bool = False
    joins: bool = False  # `-sSo FILE` is `-s -S -o FILE`


_TURN = Grammar(
    {
        "--server": _ENDPOINT,
        "--user": _ACCOUNT,
        "--permit": _ADDRESS,
        "--wait": _SECONDS,
        "--send": "",
        "--receive": "",
    },
    _FILE,
    background=True,
)
_DIAL = Grammar(
    {"--word": r"[0-9A-Za-z]{1,128}", "--send": _FILE, "--receive": _FILE, "--wait": _SECONDS},
    _ENDPOINT,
    background=True,
)
_ICE = Grammar(
    {
        **dict.fromkeys(("--meet", "--stun", "--turn"), _ENDPOINT),
        "--user": _ACCOUNT,
        "--turn-over": "udp|tcp|either",
        "--word": r"[0-9A-Fa-f]{1,128}",
        "--wait": _SECONDS,
        "--send": _FILE,
        "--receive": _FILE,
        "--help": "",
    },
    _NONE,
    background=True,
)
_PUNCH = Grammar(
    {
        "--port": _PORT,
        "--peer": _ENDPOINT,
        "--stun": rf"(?:{_ADDRESS})(?::[0-9]{{1,5}})?",
        "--meet": _ENDPOINT,
        "--word": r"[0-9a-f]{32}",
        "--send": _FILE,
        "--receive": _FILE,
        **dict.fromkeys(("--pause", "--keep-alive", "--later", "--wait"), _SECONDS),
        "--tries": r"[1-9]|1[0-9]|20",
    },
    _NONE,
    background=True,
)
GRAMMARS: dict[tuple[str, ...], Grammar] = {
    ("curl",): Grammar(
        {
            **dict.fromkeys(("-s", "-S", "-f", "-I", "-i", "-v", "-O"), ""),
            **dict.fromkeys(("--silent", "--show-error", "--fail", "--head", "--remote-name"), ""),
            **dict.fromkeys(("-m", "--max-time", "--connect-timeout"), _SECONDS),
            **dict.fromkeys(("-o", "--output", "-T", "--upload-file"), _FILE),
            **dict.fromkeys(("-x", "--proxy"), rf"(?:http://)?(?:{_ADDRESS})(?::[0-9]{{1,5}})?"),
        },
        _URL,
        background=True,
        joins=True,
    ),
    ("ping",): Grammar({"-c": _COUNT, "-W": _SECONDS, "-q": "", "-n": ""}, _ADDRESS),
    ("stun",): Grammar({"--port": _PORT, "--tcp": ""}, rf"(?:{_ADDRESS})(?::[0-9]{{1,5}})?"),
    ("punch",): _PUNCH,
    ("tcp-punch",): _PUNCH,
    ("pcp",): Grammar(
        {
            **dict.fromkeys(("--external", "--lifetime"), _PORT),
            **dict.fromkeys(("--exactly", "--keep"), ""),
            "--nonce": r"[0-9a-f]{24}",
            "--wait": _SECONDS,
        },
        r"map|delete|announce|tcp|udp|[0-9]{1,5}",
        background=True,
    ),
    ("turn-client",): _TURN,
    ("dial",): _DIAL,
    ("ice",): _ICE,
}


def check_program(words: Sequence[str], *, background: bool) -> None:
    """Raises ValueError unless these words may stand in a graded file."""
    if len(words) > MAX_WORDS:
        raise ValueError(f"{len(words)} words; allowed: {MAX_WORDS}")
    for name, grammar in GRAMMARS.items():
        if tuple(words[: len(name)]) == name:
            if background and not grammar.background:
                raise ValueError(f"{name[-1]} cannot go on in the background (&)")
            _check(name[-1], words[len(name) :], grammar)
            return
    allowed = [" ".join(name) for name in GRAMMARS]
    raise ValueError(
        not_one_of(f"{quoted(words[0])} cannot be run from a file of answers", words[0], allowed)
    )


def _check(program: str, words: Sequence[str], grammar: Grammar) -> None:
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word.startswith("-"):
            if grammar.joins and _JOINED.fullmatch(word):
                *flags, word = (f"-{letter}" for letter in word[1:])
                for flag in flags:
                    _check_flag(program, flag, grammar)
            form = grammar.options.get(word)
            if form is None:
                wrong = f"{program} with {quoted(word)} cannot be run from a file of answers"
                raise ValueError(not_one_of(wrong, word, grammar.options))
            if not form:
                continue
            if not waiting:
                raise ValueError(f"{program} {word}: its value is missing")
            _match(f"{program} {word}", waiting.pop(0), form)
        else:
            _match(program, word, grammar.word)


def _check_flag(program: str, flag: str, grammar: Grammar) -> None:
    """One of several short options in one word, and not the last: what follows is no value."""
    if grammar.options.get(flag):
        raise ValueError(f"{program} {flag}: its value is missing")
    _check(program, [flag], grammar)


_WORDS = {
    _ENDPOINT: "an endpoint, as in 198.51.100.11:9000",
    _ADDRESS: "an address, as in 203.0.113.77",
    _FILE: "the name of a file in the node's own folder, without '/'",
    _URL: "a URL, as in http://24.9.3.7:8080/holiday.jpg",
    _SECONDS: "seconds, as in 2 or 0.5",
    _PORT: "a number, as in 8000",
    _COUNT: "1 to 5",
}


def _match(what: str, word: str, form: str) -> None:
    if not re.fullmatch(form, word):
        allowed = _WORDS.get(form, "another value")
        raise ValueError(f"{what}: {quoted(word)} cannot stand here; allowed: {allowed}")
