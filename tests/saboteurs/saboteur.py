"""What a saboteur is: a small fault in a copy of the system, and the claims it must turn red.

Theory of operation. A check that cannot fail proves nothing. So the source is copied, one fault
is put into the copy, and the lab is run there just as a user would run it: a process of its
own, which makes its own sandbox. Then runs/<lab>/ must say of exactly the expected claims that
they do not hold, each for the expected reason, and of all others that they do.

To add a saboteur, add a row to a test file: a name, its faults, and `red`: each claim that must
fail, with words from the evidence that must be given. If it names more claims than one, a comment
says why the fault honestly breaks them all. A fault is one of

    Patch("napt_lab.nat_node.core.table:Table.admits", translator.everyone)
                        what a module has under a name becomes what the function makes of it. The
                        function is in planted/, and runs in the processes of the copy.
    Setting("two-sites.yaml", "sites.b.hosts.printer", "10.0.0.7")
                        another value in a topology that comes with the project
    Edit("servers/web.py", "text", "replacement")
                        another text in a file: only where no name stands for what is to break,
                        and with a comment that says so

Faults that have nothing to do with each other share a run (`shared`), for a run takes seconds:
their claims differ, so it still shows which fault turned which claim red, and that no other claim
moved.

That without a fault all claims hold is what tests/network/test_lab_*.py show.

A fault that cannot be put in fails its test, for it would prove nothing: the name must be there,
the setting's parent as well, and a text exactly once.
"""

from __future__ import annotations

import compileall
import importlib.util
import json
import os
import py_compile
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests import installed
from tests.saboteurs import planting
from tests.saboteurs.planted import anything

PACKAGE = "napt_lab"
DEADLINE = 120.0  # seconds, for a lab that takes four on an idle machine


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of the source: in `file`, `text` becomes `replacement`."""

    file: str
    text: str
    replacement: str

    @property
    def place(self) -> object:
        """What can be changed only once in a run."""
        return (self.file, self.text)

    def apply(self, root: Path) -> None:
        """Change the copy at `root`."""
        path = root / PACKAGE / self.file
        source = path.read_text(encoding="utf-8")
        count = source.count(self.text)
        assert count == 1, (
            f"the sabotage no longer applies: {self.file} has this {count} times, not once:\n"
            f"{self.text}"
        )
        path.unlink()  # all copies share this file
        path.write_text(source.replace(self.text, self.replacement), encoding="utf-8")
        if path.suffix == ".py":
            Path(importlib.util.cache_from_source(str(path))).unlink()


class Patch:
    """What a module has under a name becomes `fault(what it has, *arguments)`.

    `target` is the module's full name, a colon, and the name in it.
    """

    def __init__(self, target: str, fault: Callable[..., Any], *arguments: object) -> None:
        self.target, self.fault, self.arguments = target, fault, arguments

    @property
    def place(self) -> object:
        """What can be changed only once in a run."""
        return self.target

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patch) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.target, self.fault))

    def apply(self, root: Path) -> None:
        """Have every process of the copy at `root` plant it."""
        module, _, name = self.target.partition(":")
        try:
            planting.find(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise AssertionError(
                f"the sabotage no longer applies: {self.target}: {error}"
            ) from None
        fault = {
            "module": module,
            "name": name,
            "fault_module": self.fault.__module__.removeprefix("tests.saboteurs."),
            "fault": self.fault.__name__,
            "arguments": self.arguments,
        }
        with (root / planting.LIST).open("a", encoding="utf-8") as file:
            print(json.dumps(fault), file=file)


@dataclass(frozen=True, slots=True)
class Setting:
    """Another value in a topology: `path` are the keys that lead to it, with dots between."""

    file: str
    path: str
    value: Any

    @property
    def place(self) -> object:
        """What can be changed only once in a run."""
        return (self.file, self.path)

    def __hash__(self) -> int:
        return hash(self.place)

    def apply(self, root: Path) -> None:
        """Change the copy at `root`."""
        path = root / PACKAGE / "topologies" / self.file
        topology = yaml.safe_load(path.read_text(encoding="utf-8"))
        *parents, last = self.path.split(".")
        parent = topology
        for key in parents:
            assert key in parent, f"the sabotage no longer applies: {self.file} has no {self.path}"
            parent = parent[key]
        assert parent.get(last) != self.value, f"{self.file}: {self.path} is {self.value} already"
        parent[last] = self.value
        path.unlink()  # all copies share this file
        path.write_text(yaml.safe_dump(topology), encoding="utf-8")


Fault = Edit | Patch | Setting

# No verdict depends on report.html (a page that fails costs only the page), and it takes a third
# of a run's time. tests/network/test_lab_*.py have it written.
NO_REPORT = Patch("napt_lab.labs.running.runner:_write_report", anything.nothing)


@dataclass(frozen=True, slots=True)
class Saboteur:
    """Faults and what must come of them.

    `red`: each claim that must fail, with words that its evidence must then have. `broken`:
    those among them of which the lab must say that they could not be checked. `part`: the only
    part of the lab to run, where that is enough.
    """

    name: str
    faults: tuple[Fault, ...]
    red: Mapping[str, str]
    broken: frozenset[str] = frozenset()
    part: str | None = None

    def may_join(self, other: Saboteur) -> bool:
        """Whether both can be put in, and told apart, in one run."""
        places = {fault.place: fault for fault in self.faults}
        return (
            self.part == other.part
            and not self.red.keys() & other.red.keys()
            and all(places.get(fault.place, fault) == fault for fault in other.faults)
        )

    def joined(self, other: Saboteur) -> Saboteur:
        """Both faults, and all that must come of them."""
        return Saboteur(
            f"{self.name} {other.name}",
            tuple(dict.fromkeys(self.faults + other.faults)),
            {**self.red, **other.red},
            self.broken | other.broken,
            self.part,
        )


def shared(saboteurs: Iterable[Saboteur]) -> list[Saboteur]:
    """As few runs as it takes: each saboteur joins the first that has none of its claims."""
    runs: list[Saboteur] = []
    # Those that turn many claims red are the hardest to place.
    for saboteur in sorted(saboteurs, key=lambda each: -len(each.red)):
        fitting = next((run for run in runs if run.may_join(saboteur)), None)
        if fitting is None:
            runs.append(saboteur)
        else:
            runs[runs.index(fitting)] = fitting.joined(saboteur)
    return runs


@dataclass(frozen=True, slots=True)
class Run:
    """What a lab left behind."""

    status: int
    passed: bool
    claims: frozenset[str]
    failures: Mapping[str, str]  # claim: the evidence of its checks that failed
    broken: frozenset[str]
    unforeseen: tuple[str, ...]  # questions to which the network has another answer than the course

    def story(self) -> str:
        """The claims that failed, with the evidence."""
        return "\n".join(f"{claim}: {evidence}" for claim, evidence in self.failures.items())


def copy_source(root: Path) -> Path:
    """Copy all that a lab needs to `root`, and compile it, so that not every run has to."""
    package = installed.lay_out(root)
    here = Path(__file__).parent
    shutil.copy(planting.__file__, root / "sitecustomize.py")
    shutil.copytree(here / "planted", root / "planted", ignore=shutil.ignore_patterns("__py*"))
    # An edit deletes what was compiled, so that no process need compare it with the source.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(package, quiet=2, invalidation_mode=mode)
    return root


def copy(source: Path, root: Path) -> None:
    """Another copy, to be edited; what is not edited is one file in all of them."""
    shutil.copytree(source, root, copy_function=os.link)


def run_lab(lab: str, source: Path, folder: Path, saboteur: Saboteur | None = None) -> Run:
    """Copy `source` into `folder`, let the saboteur at it and run a lab there.

    What the lab said is printed, for pytest to show if the test fails.
    """
    root = folder / "copy"
    copy(source, root)
    NO_REPORT.apply(root)
    command = [sys.executable, "-m", "napt_lab.labs", "lab", lab]
    if saboteur is not None:
        for fault in saboteur.faults:
            fault.apply(root)
        command += ["--part", saboteur.part] if saboteur.part else []
    said = folder / "said.txt"
    try:
        with said.open("wb") as output:
            status = subprocess.run(
                command,
                cwd=root,
                env=installed.environment(root),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=DEADLINE,
                check=False,
            ).returncode
    finally:
        print(f"{' '.join(command)}\n{said.read_text(encoding='utf-8', errors='replace')}")
    written = root / "runs" / lab
    assert (written / "results.json").exists(), f"the lab did not run: exit status {status}"
    results = json.loads((written / "results.json").read_text(encoding="utf-8"))
    checks = [check for step in results["steps"] for check in step["checks"]]
    failures: dict[str, str] = {}
    for check in checks:
        if not check["passed"]:
            earlier = failures.get(check["claim"], "")
            failures[check["claim"]] = f"{earlier}{check['text']}: {check['evidence']}\n"
    return Run(
        status,
        results["passed"],
        frozenset(check["claim"] for check in checks),
        failures,
        frozenset(_errors(written / "junit.xml")),
        tuple(p["ask"] for p in results["predictions"] if p["seen"] != p["expected"]),
    )


def assert_turns_red(saboteur: Saboteur, run: Run) -> None:
    """Exactly the expected claims failed, and for the expected reasons."""
    assert set(run.failures) == set(saboteur.red), (
        f"{', '.join(saboteur.red)} should have failed; these did:\n{run.story()}"
    )
    for claim, words in saboteur.red.items():
        assert words in run.failures[claim], f"not for the expected reason:\n{run.story()}"
    assert run.broken == saboteur.broken, f"not checked: {', '.join(run.broken) or 'none'}"
    assert (run.status, run.passed) == (1, False), f"exit status {run.status}"


def assert_holds(claims: Collection[str], run: Run) -> None:
    """The control: all these claims were checked, and all of them hold."""
    assert not run.failures, run.story()
    assert run.claims == set(claims), f"checked: {', '.join(run.claims)}"
    assert (run.status, run.passed) == (0, True), f"exit status {run.status}"


def _errors(junit: Path) -> Iterator[str]:
    """The claims of which junit.xml has an `error`: a check that could not be made."""
    for case in ET.parse(junit).iter("testcase"):
        if case.find("error") is not None:
            yield case.get("classname", "")
