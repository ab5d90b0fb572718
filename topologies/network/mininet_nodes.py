"""Mininet's nodes, switches and links, made by the builder's batches instead of by typed commands.

Mininet configures a node by typing commands into a shell on it. Here a node's shell starts only
when a command is typed into it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Any

from napt_lab.topologies.network.build_error import BuildError
from napt_lab.topologies.network.mininet_import import Intf, Link, Switch
from napt_lab.topologies.network.mininet_import import Node as MininetNode


class LabNode(MininetNode):  # type: ignore[misc]  # Mininet has no types
    """A Mininet node whose namespace is held by `sleep`; its shell starts when it is used."""

    isSetup = True  # noqa: N815  # Mininet's name; preflight has checked that the programs are there

    def startShell(self, **_options: Any) -> None:  # noqa: N802  # Mininet's name
        """Make the namespaces, without a shell."""
        self.holder = subprocess.Popen(
            ["mnexec", "-np", "sleep", "infinity"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at a prompt must not end the node
        )
        self.pid = self.holder.pid

    def await_namespace(self) -> None:
        """Return when the namespaces exist: mnexec then prints its process number."""
        assert self.holder.stdout is not None
        with self.holder.stdout as said:  # no open file for each of a thousand nodes
            is_there = bool(said.readline())
        if not is_there:
            raise BuildError(f"{self.name}: mnexec could not make a network namespace")

    def sendCmd(self, *args: Any, **kwargs: Any) -> None:  # noqa: N802  # Mininet's name
        """Type a command into the node's shell; starts the shell if necessary."""
        self._need_shell()
        super().sendCmd(*args, **kwargs)

    def cmd(self, *args: Any, **kwargs: Any) -> Any:
        """Type a command and return its output."""
        self._need_shell()
        return super().cmd(*args, **kwargs)

    def _need_shell(self) -> None:
        if self.shell is None:
            self.inNamespace = False  # the shell joins the existing namespaces
            super().startShell(mnopts=f"-cda{self.holder.pid}")
            self.inNamespace, self.pid = True, self.holder.pid

    def terminate(self) -> None:
        """End the shell and the process that holds the namespaces."""
        super().terminate()
        self.holder.kill()
        self.holder.wait()


class Bridge(Switch):  # type: ignore[misc]
    """A segment: a Linux bridge; the builder's batches make and delete it."""

    isSetup = True  # noqa: N815  # Mininet's name

    def startShell(self, **_options: Any) -> None:  # noqa: N802  # Mininet's name
        """Do nothing: a bridge has no shell."""
        self.pid = os.getpid()

    def cmd(self, *_args: Any, **_kwargs: Any) -> str:
        """Do nothing: the batch sets the interfaces up, Mininet would do it by commands."""
        return ""

    def start(self, controllers: Sequence[Any]) -> None:
        """Do nothing: a learning bridge needs no controller."""


class BatchIntf(Intf):  # type: ignore[misc]
    """An interface that the builder's batches configure."""

    def config(self, **_params: Any) -> dict[str, Any]:
        """Do nothing: a batch configures it."""
        return {}


class BatchLink(Link):  # type: ignore[misc]
    """A veth pair; one batch makes all of them."""

    @classmethod
    def makeIntfPair(cls, *_args: Any, **_kwargs: Any) -> None:  # noqa: N802  # Mininet's name
        """Do nothing: the batch has made it."""

    def stop(self) -> None:
        """Do nothing: the interfaces go with their namespaces."""
