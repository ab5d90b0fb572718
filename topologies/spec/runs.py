"""Reads `runs:` of a host in a topology file: services, and programs of the user's own."""

from __future__ import annotations

from pathlib import Path

from napt_lab.topologies.spec import scalars
from napt_lab.topologies.spec.errors import not_one_of, quoted
from napt_lab.topologies.spec.services import SERVICES, Option, Parser, Service
from napt_lab.topologies.spec.user_program import UserProgram, read_program
from napt_lab.topologies.spec.yaml_nodes import Entry

MOST_USERS = 100  # of one TURN server
Runs = tuple[tuple[Service, ...], tuple[UserProgram, ...]]


def read_runs(entry: Entry, folder: Path, *, programs: bool) -> Runs:
    """What is in the list at `entry`; problems are noted there.

    `folder`: that of the file; `programs`: whether programs of the user's own may run.
    """
    services: list[Service] = []
    own: list[UserProgram] = []
    for item in entry.items():
        if item.is_mapping() and "program" in item.named():
            labels = [each.label for each in own]
            if (program := read_program(item, folder, labels, allowed=programs)) is not None:
                own.append(program)
            continue
        service = _service(item)
        if service is None:
            continue
        taken = next((other for other in services if other.port == service.port), None)
        if taken:
            item.refuse(
                f"port {service.port} is already used by the service {taken.name} of this host; "
                "allowed: another port"
            )
        services.append(service)
    return tuple(services), tuple(own)


def _service(item: Entry) -> Service | None:
    """Read one service: `web`, or `{file-server: {port: 8080}}`."""
    options: Entry | None = None
    name: str | None
    if item.is_mapping():
        entries = item.named()
        if len(entries) != 1:
            item.refuse("this is not one service; allowed: NAME or {NAME: {option: value}}")
            return None
        ((name, options),) = entries.items()
    else:
        name = item.read(str)
    if name is None:
        return None
    spec = SERVICES.get(name)
    if spec is None:
        item.refuse(not_one_of(f"there is no service {quoted(name)}", name, SERVICES))
        return None
    if options is None:
        if spec.required:
            needed = ", ".join(f"{key}: …" for key in spec.required)
            item.refuse(f"{name} needs options; allowed: {{{name}: {{{needed}}}}}")
        return Service(name, spec.port)
    section = options.section("port", *spec.options, required=spec.required)
    values: dict[str, Option | None] = {
        key: _users(section[key], parse)
        if key in spec.several and section[key].is_list()
        else section[key].read(parse)
        for key, parse in spec.options.items()
        if key in section
    }
    return Service(
        name,
        section.value_or("port", scalars.port, spec.port),
        {key: value for key, value in values.items() if value is not None},
    )


def _users(entry: Entry, parse: Parser) -> tuple[str, ...] | None:
    """Several accounts, each with a name of its own."""
    names: dict[str, Entry] = {}
    users: list[str] = []
    items = entry.items()
    if not 1 <= len(items) <= MOST_USERS:
        entry.refuse(f"{len(items)} users; allowed: 1 to {MOST_USERS}")
    for item in items[:MOST_USERS]:
        if (user := item.read(parse)) is None:
            continue
        name = str(user).partition(":")[0]
        if name in names:
            item.refuse(
                f"the user {quoted(name)} is already in {names[name].path}; allowed: another name"
            )
        names.setdefault(name, item)
        users.append(str(user))
    return tuple(users) or None
