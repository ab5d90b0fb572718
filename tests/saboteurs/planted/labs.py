"""Faults of the labs: other commands are typed than should be, or less is checked."""

from __future__ import annotations

from dataclasses import replace

FILES, RELAY, NAPT_A = "198.51.100.10", "198.51.100.11", "24.9.3.7"
VISITORS = {"napt_a": ("bob", "24.9.3.7"), "napt_b": ("alice", "203.0.113.77")}

# What a gateway without a proxy has instead: it passes the PC's packets on, translated.
NFT_INSTEAD_OF_A_PROXY = (
    "add table ip napt",
    "add chain ip napt in { type nat hook prerouting priority dstnat; }",
    "add chain ip napt out { type nat hook postrouting priority srcnat; }",
    "add rule ip napt in tcp dport 3128 dnat to 151.101.1.69:80",
    "add rule ip napt out oifname wan0 masquerade",
)


def other_words(start, node, program, words):
    """Where `program` is typed on `node`, these words are typed instead of what they stand for."""

    def typed(stage, where, *argv):
        if (where, argv[0]) == (node, program):
            argv = tuple(words.get(word, word) for word in argv)
        return start(stage, where, *argv)

    return typed


def first(start, node, program, *before):
    """Before `program` is typed on `node` for the first time, other lines are: (node, words …)."""
    waiting = [list(line) for line in before]

    def typed(stage, where, *argv):
        if (where, argv[0]) == (node, program):
            while waiting:
                other, *words = waiting.pop(0)
                start(stage, other, *words).finish()
        return start(stage, where, *argv)

    return typed


def not_so_patient(start, seconds):
    """Where what is awaited does not come, a test need not wait as long as a student would."""

    def typed(stage, node, *argv):
        words = list(argv)
        for option in ("-m", "-w"):
            if option in words[:-1] and words[words.index(option) + 1].isdigit():
                at = words.index(option) + 1
                words[at] = str(min(int(words[at]), seconds))
        return start(stage, node, *words)

    return typed


def impatient_connections(serve):
    """`connections` gives up sooner."""

    def served(stage, node, *argv, name):
        patience = ("--patience", "2") if argv[0] == "connections" else ()
        return serve(stage, node, *argv, *patience, name=name)

    return served


def late_rules(run):
    """A rule is added when the first SYN has been dropped. TCP sends it again a second later."""
    begun = {}

    def typed(stage, node, *argv, **options):
        if argv[:2] == ("napt", "add"):
            visitor, address = VISITORS[node]
            since = stage.wire.mark()
            url = f"http://{address}:8080/holiday.jpg"
            begun[visitor] = stage.start(visitor, "curl", "-m", "5", "-o", "holiday.jpg", url)
            stage.wire.wait_for(
                f"{node}:wan0",
                lambda p: p.destination_port == 8080 and p.is_tcp(flags=2),
                deadline=5.0,
                what="a SYN",
                since=since,
            )
        elif node in begun and argv[0] == "curl":
            return begun.pop(node).finish()
        return run(stage, node, *argv, **options)

    return typed


def by_a_proxy(exchange):
    """The exchange goes through a proxy on the relay."""

    def exchanged(stage, *arguments):
        with_a_proxy(stage)
        try:
            return exchange(stage, *arguments)
        finally:
            del stage.start

    return exchanged


def with_a_proxy(stage):
    """From now on curl asks a proxy on the relay."""
    if not any(event.program == "proxy" for event in stage.log.since()):
        stage.serve("relay", "proxy", name="proxy")
    stage.wait_for_event("relay", "ready", lambda event: event.program == "proxy", deadline=20.0)
    start = stage.start

    def typed(node, *argv):
        proxy = ("-x", f"http://{RELAY}:3128") if argv[0] == "curl" else ()
        return start(node, *argv, *proxy)

    stage.start = typed


def in_step(part, name, change):
    """The step `name` of a part begins with a function below."""
    (step,) = [step for step in part.steps if step.action.__name__ == name]

    def altered(stage):
        globals()[change](stage)
        try:
            step.action(stage)
        finally:
            vars(stage).pop("start", None)

    part.steps[part.steps.index(step)] = replace(step, action=altered)
    return part


def with_a_copy_at_the_file_server(stage):
    """The public server has alice's file, and bob fetches it there."""
    name = "holiday.jpg"
    copy = stage.net["files"].home / "files" / name
    copy.write_bytes((stage.net["alice"].home / "shared" / name).read_bytes())
    start = stage.start

    def typed(node, *argv):
        if (node, argv[0]) == ("bob", "curl"):
            argv = tuple(word.replace(NAPT_A, FILES) for word in argv)
        return start(node, *argv)

    stage.start = typed


def with_wrong_usage_at_files(stage):
    """curl is called on the public server in a way that it refuses."""
    start = stage.start

    def typed(node, *argv):
        wrong = ("--no-such-option",) if (node, argv[0]) == ("files", "curl") else ()
        return start(node, *argv, *wrong)

    stage.start = typed


def with_the_first_page_only(stage):
    """bob fetches the list of alice's files instead of the file."""
    start = stage.start

    def typed(node, *argv):
        return start(node, *(word.removesuffix("holiday.jpg") or "copy" for word in argv))

    stage.start = typed


def the_direct_way_is_that_of_the_file_server(ways):
    """What is timed as the direct way is the way through the file server."""
    direct, *others = ways
    by_server = others[-1]
    return (
        replace(direct, transfer=by_server.transfer, opened_by=by_server.opened_by),
        *others,
    )


def always_at(exchange, napt):
    """The exchange is always at the same NAPT."""
    return lambda stage, claim_id, _napt: exchange(stage, claim_id, napt)


def fewer(_original, start, stop):
    """A smaller range."""
    return range(start, stop)


def leaving_out(happen, unwanted):
    """This does not happen to the network, though it is said."""
    return lambda stage, line: None if line == unwanted else happen(stage, line)


def once_the_rule_has_ended(require_two_rules):
    """The first time, the tables are read when the carrier has forgotten the rule."""
    waiting = ["cgn"]

    def required(stage, claim, endpoints, *, explicit):
        while waiting:
            stage.wait_for_event(
                waiting.pop(),
                "rule-ended",
                lambda event: event.fields["rule"]["external"] == endpoints[2],
            )
        return require_two_rules(stage, claim, endpoints, explicit=explicit)

    return required
