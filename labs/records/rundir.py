"""runs/: a folder for each run, put in place whole.

    runs/9c          a symbolic link to the newest finished run of lab 9c
    runs/9c-stopped  … to the newest run that was stopped before its end
    runs/latest      … to the newest of all that have a report, also if it was stopped
    runs/.9c-x3k     the folders themselves, those of unfinished runs as well

A run writes to a folder of its own, which it keeps locked (flock). At the end the links are
replaced, each in one step, so that a reader always sees one whole run, even if several runs
of one lab end at the same time. A folder that no link points to and that is not locked belongs to
an older run, or to one that was killed: the next run that ends removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from napt_lab.labs.setup.bootstrap import give_to_owner
from napt_lab.topologies.spec.checkout import IN_CHECKOUT, ROOT

# In a checkout it is in the checkout; an installed package must not be written to.
RUNS = (ROOT if IN_CHECKOUT else Path.cwd()) / "runs"


class RunDirectory:
    """One run's folder, `path`; no link leads to it before `publish`."""

    def __init__(self, lab: str, runs: Path = RUNS) -> None:
        self._runs = runs
        self._lab = lab
        runs.mkdir(exist_ok=True)
        for link in (runs / lab, runs / "latest"):
            if link.is_dir() and not link.is_symlink():  # told before the run, not after
                raise IsADirectoryError(
                    errno.EISDIR, "there is a folder where the run needs a link", str(link)
                )
        with _locked(runs):  # so that no other run removes it before it is locked
            self.path = Path(tempfile.mkdtemp(prefix=f".{lab}-", dir=runs))
            self.path.chmod(0o755)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def publish(self, *, stopped: bool = False, latest: bool = True) -> Path:
        """Make this run the newest of its kind, and the `latest`; returns where it can be found.

        One that was `stopped` has a place of its own, and replaces no finished one.
        """
        own = f"{self._lab}-stopped" if stopped else self._lab
        with _locked(self._runs):
            for name in (own, "latest") if latest else (own,):
                _replace_link(self._runs / name, self.path.name)
            os.close(self._lock)
            _remove_old(self._runs)
            with contextlib.suppress(OSError):  # the owner is unknown in an ordinary user's sandbox
                give_to_owner(self._runs)
        return self._runs / own

    def discard(self) -> None:
        """Delete this run, and `latest`, which could be mistaken for it."""
        with _locked(self._runs):
            for link in self._runs.iterdir():
                if link.is_symlink() and (
                    link.name == "latest" or link.readlink().name == self.path.name
                ):
                    link.unlink()
            shutil.rmtree(self.path, ignore_errors=True)


def _replace_link(link: Path, target: str) -> None:
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def _remove_old(runs: Path) -> None:
    kept = {link.readlink().name for link in runs.iterdir() if link.is_symlink()}
    for folder in runs.iterdir():
        is_run = folder.name.startswith(".") and folder.is_dir() and not folder.is_symlink()
        if is_run and folder.name not in kept and not _is_held(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_held(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def _locked(runs: Path) -> Iterator[None]:
    descriptor = os.open(runs, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
