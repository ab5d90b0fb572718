"""Reads a topology file: a Topology, or all errors of the file at once.

    title: one line                      (optional)
    offload: false                       (optional; true: large segments on the links)
    internet:                            public hosts
      files: {address: 198.51.100.10, runs: [{file-server: {port: 8080}}]}
      client: 203.0.113.5                (short for {address: 203.0.113.5})
      stun: [198.51.100.2, 198.51.100.3] (several addresses, in one network)
    sites:
      a:
        gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
        hosts: {alice: 10.0.0.7}
      b:                                 (behind site a, whose gateway is the next hop)
        gateway: {kind: napt, behind: a, public: 10.0.0.3, private: 192.168.0.1/24}
    expect:                              (optional; see expectations.py)
      - alice reaches files:8080 as 24.9.3.7
    then:                                (optional; what happens, and what must hold afterwards)
      - {do: [reboot napt_a, wait 1s], expect: [alice reaches files:8080]}

An address without a prefix length lies in a /24. Public addresses in one network share one
ISP, in which the internet router has the first address. A gateway's other keys are in
gateways.py, what a host runs in runs.py, the form of single values in scalars.py.

The file is pure data and may come from anyone: its size, depth and number of nodes are limited,
and no content can raise anything but TopologyError.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from napt_lab.topologies.spec import scalars
from napt_lab.topologies.spec.address_plan import PublicPlan, SitePlan, read_addresses
from napt_lab.topologies.spec.checkout import PROGRAM, TOPOLOGIES
from napt_lab.topologies.spec.errors import Problems, nearest, not_one_of, quoted
from napt_lab.topologies.spec.expectations import expectations
from napt_lab.topologies.spec.gateways import DEFAULT_NAME, GatewayDraft
from napt_lab.topologies.spec.happening import after, happening
from napt_lab.topologies.spec.link import read_link
from napt_lab.topologies.spec.model import GatewayKind, Host, Site, Then, Topology
from napt_lab.topologies.spec.roster import Roster
from napt_lab.topologies.spec.runs import Runs, read_runs
from napt_lab.topologies.spec.yaml_nodes import MAX_BYTES, Entry, Section, compose

MOST_FILES = 500  # in the folder of a missing file, to find the name that was meant
#: Hosts, gateways and the internet router. A Linux bridge has 1,023 ports, and all hosts of a
#: topology may be on one.
MAX_NODES = 1000
MAX_ADDRESSES = 8  # of one host

_title = scalars.one_line("a title", 100)


def load(path: Path, *, programs: bool = False) -> Topology:
    """Read the topology in the file at `path`; raises TopologyError with all problems.

    `programs`: whether the file may run programs of its writer's (user_program.py).
    """
    return loads(read_file(path), path, programs=programs)


def read_file(path: Path) -> bytes:
    """The content of a YAML file, at most one byte more than allowed; raises TopologyError."""
    problems = Problems(str(path))
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a FIFO would wait for a writer
            what = "a directory" if stat.S_ISDIR(mode) else "not an ordinary file"
            raise problems.fatal(0, f"this is {what}; allowed: a YAML file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise problems.fatal(0, _no_file(path)) from error
    except OSError as error:
        raise problems.fatal(
            0, f"cannot be read: {error.strerror}; allowed: a YAML file"
        ) from error


def _no_file(path: Path) -> str:
    """The message for a missing file, with the most similar name beside it or among ours."""
    message = "no such file"
    if ".yaml " in str(path):
        return f"{message}; several files: {PROGRAM} check FILE…"
    ours = TOPOLOGIES.glob("*.yaml") if path.name == str(path) else ()
    beside = islice(path.parent.glob("*.yaml"), MOST_FILES)
    names = {file.stem: file.stem for file in ours} | {file.stem: file.name for file in beside}
    near = nearest(path.stem, sorted(names))
    return f"{message} (did you mean {names[near]!r}?)" if near else message


def loads(data: bytes, path: Path, *, programs: bool = False) -> Topology:
    """Read the topology in `data`, the content of `path`; raises TopologyError."""
    problems = Problems(str(path))
    topology = _Reader(path.parent, programs=programs).topology(compose(data, problems), path)
    problems.raise_if_any()
    return topology


def read_topology(entry: Entry, path: Path) -> Topology:
    """Read the topology at `entry`, a part of the file at `path`; problems are noted there."""
    return _Reader(path.parent).topology(entry, path)


@dataclass(frozen=True, slots=True)
class _SiteDraft:
    """A site as far as it does not depend on others."""

    gateway: GatewayDraft
    plan: SitePlan
    hosts: tuple[Host, ...]
    hosts_known: bool  # whether none of them has an error


class _Reader:
    """One pass over one file; remembers the names and addresses that must be unique in it."""

    def __init__(self, folder: Path, *, programs: bool = False) -> None:
        """`folder`: the folder of the file; paths in the file start there."""
        self._folder = folder
        self._programs = programs
        self._public = PublicPlan()
        self._nodes: dict[str, Entry] = {}
        self._misread: set[str] = set()  # possible names of nodes, in places with another error

    def topology(self, top: Entry, path: Path) -> Topology:
        if top.is_mapping() and {"task", "network"} <= top.named().keys():
            how = f"{PROGRAM} exercise {path}"
            raise top.problems.fatal(
                1, f"this is an exercise; allowed: a topology. To do the exercise: {how}"
            )
        section = top.section("title", "offload", "internet", "sites", "expect", "then")
        if top.is_mapping() and not section.keys() & {"internet", "sites"}:
            top.refuse("this topology has no nodes; allowed: internet, sites or both")
        self._note_misread(section)
        internet = self._hosts(section.get("internet"), self._public)
        sites = self._sites(section["sites"]) if "sites" in section else ()
        topology = Topology(
            name=path.stem,
            path=path,
            title=section.value_or("title", _title, ""),
            isps=self._public.isps(),
            internet=internet,
            sites=sites,
            offload=section.value_or("offload", scalars.flag, False),
        )
        if "expect" in section:
            roster = Roster(topology, self._nodes, self._misread)
            topology = replace(topology, expect=expectations(section["expect"], roster))
        if "then" in section:
            topology = replace(topology, then=tuple(self._then(section["then"], topology)))
        return topology

    def _then(self, entry: Entry, topology: Topology) -> Iterator[Then]:
        """Each step's sentences speak of the topology as it is after what has happened."""
        for item in entry.items():
            section = item.section("do", "expect", required=("do",))
            if "do" not in section:
                continue
            do = section["do"]
            lines = do.items() if do.is_list() else [do]
            happened = []
            doubtful = {*self._nodes, *self._misread}.difference(topology.node_names())
            for line in lines:
                if doubtful.intersection(word for text in line.texts() for word in text.split()):
                    continue  # what is wrong there is told already
                made = line.read(lambda text: happening(text, topology))  # noqa: B023
                if made is not None:
                    topology = after(topology, made)
                    happened.append(made.text)
            roster = Roster(topology, self._nodes, self._misread)
            then = (
                expectations(section["expect"], roster, later=True) if "expect" in section else ()
            )
            yield Then(tuple(happened), then)

    def _sites(self, entry: Entry) -> tuple[Site, ...]:
        """All sites: first what each says by itself, then what depends on other sites."""
        named = entry.named()
        drafts = {
            name: draft
            for name, site in named.items()
            if (draft := self._draft(name, site)) is not None
        }
        for name, draft in drafts.items():
            draft.gateway.read_public(self._outside(name, drafts, named))
        sites = []
        # A site whose gateway cannot be read may be behind any that its text names.
        lost = [entry.texts() for name, entry in named.items() if name not in drafts]
        carriers: set[str] = set().union(*lost)
        for name, draft in drafts.items():
            inside = {address.ip for host in draft.hosts for address in host.addresses}
            behind = [d.gateway for d in drafts.values() if d.gateway.behind == name]
            inside |= {address.ip for each in behind for address in each.addresses}
            known = draft.hosts_known and all(each.addresses for each in behind)
            known &= name not in carriers
            if gateway := draft.gateway.finish(inside, known=known):
                sites.append(Site(name, gateway, draft.hosts))
        return tuple(sites)

    def _draft(self, name: str, entry: Entry) -> _SiteDraft | None:
        """A site as far as it does not depend on others; None without a gateway."""
        named = _is_good(scalars.name, name, entry)
        section = entry.section("gateway", "hosts", required=("gateway",))
        self._note_misread(section)
        if not named or "gateway" not in section:
            self._misread |= _usual_names(name)
        if "gateway" not in section:
            self._hosts(section.get("hosts"), SitePlan(name, None, entry))
            return None
        gateway = GatewayDraft(section["gateway"], name, self._folder)
        self._note_misread(gateway.section)
        if named or "name" in gateway.section:  # a bad name of the site is reported already
            self._add_node(gateway.name, gateway.section.at("name"))
        if gateway.private and gateway.kind is GatewayKind.ROUTER:
            self._public.claim_routed(gateway.private.network, gateway.section["private"])
        plan = SitePlan(name, gateway.private, gateway.section.at("private"))
        before = entry.problems.count
        hosts = self._hosts(section.get("hosts"), plan)
        known = not section.unknown and entry.problems.count == before
        return _SiteDraft(gateway, plan, hosts, known)

    def _outside(
        self, name: str, drafts: Mapping[str, _SiteDraft], names: Container[str]
    ) -> PublicPlan | SitePlan:
        """The addresses of the network outside of a site; notes an impossible `behind`."""
        gateway = drafts[name].gateway
        if "behind" not in gateway.section:
            return self._public
        where = gateway.section["behind"]
        only_form = SitePlan(name, None, where)
        if gateway.behind is None:
            return only_form
        if gateway.behind not in drafts:
            if gateway.behind not in names:  # else that site has no gateway, which is reported
                others = [other for other in drafts if other != name]
                where.refuse(
                    not_one_of(f"there is no site {quoted(gateway.behind)}", gateway.behind, others)
                )
            return only_form
        way, up = [name], gateway.behind
        while up in drafts and up not in way:
            way.append(up)
            up = drafts[up].gateway.behind or ""
        if up == name:
            where.refuse(
                f"{name} is behind itself ({' → '.join([*way, name])}); "
                "allowed: a site that leads to the Internet"
            )
            return only_form
        carrier = drafts[gateway.behind].gateway
        if gateway.kind is GatewayKind.ROUTER and carrier.kind not in (GatewayKind.ROUTER, None):
            where.refuse(
                f"the public addresses inside a router are hidden behind {carrier.name}; "
                "allowed: a site whose gateway is a router, or no behind"
            )
        return drafts[gateway.behind].plan

    def _note_misread(self, section: Section) -> None:
        """A misspelled key may contain nodes."""
        for entry in section.unknown:
            for text in entry.texts():
                self._misread |= {text, *_usual_names(text)}

    def _hosts(self, entry: Entry | None, plan: PublicPlan | SitePlan) -> tuple[Host, ...]:
        hosts = []
        for name, host in entry.named().items() if entry else ():
            self._add_node(name, host)
            section = Section(host)
            if host.is_mapping():
                section = host.section("address", "runs", "link", required=("address",))
            else:
                section["address"] = host
            runs: Runs = ((), ())
            if "runs" in section:
                runs = read_runs(section["runs"], self._folder, programs=self._programs)
            link = read_link(section["link"]) if "link" in section else None
            if "address" in section and (
                addresses := read_addresses(section["address"], plan, MAX_ADDRESSES)
            ):
                first, *others = addresses
                hosts.append(Host(name, first, *runs, link, tuple(others)))
        return tuple(hosts)

    def _add_node(self, name: str, entry: Entry) -> None:
        """Add a node; a problem with its name is noted at `entry`."""
        if not _is_good(scalars.node_name, name, entry):
            self._misread.add(name)
            return
        if name in self._nodes:
            first = self._nodes[name]
            entry.refuse(
                f"the name {quoted(name)} is already used by {first.path} (line {first.line}); "
                "allowed: another name"
            )
            return
        self._nodes[name] = entry
        if len(self._nodes) == MAX_NODES:  # with the router, which is not in this table
            entry.refuse(
                f"too many nodes; allowed: {MAX_NODES:,}, gateways and the internet router "
                "included (a network's bridge has no more ports)"
            )


def _usual_names(site: str) -> set[str]:
    """The names that the gateway of a site may have if the file gives none."""
    return {f"{usual}_{site}" for usual in DEFAULT_NAME.values()}


def _is_good(parse: Callable[[str], str], name: str, entry: Entry) -> bool:
    try:
        parse(name)
    except ValueError as error:
        entry.refuse(str(error))
        return False
    return True
