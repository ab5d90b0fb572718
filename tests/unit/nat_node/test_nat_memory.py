"""What is left of a table when its translator is killed, and what is made of it afterwards."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.nat_node.core.behavior import parse_address
from napt_lab.nat_node.core.settings import changed
from napt_lab.nat_node.core.table import Table
from napt_lab.nat_node.core.translator import Translator
from napt_lab.nat_node.persistence import state_file
from napt_lab.nat_node.persistence.memory import (
    BODY_AT,
    FEWEST,
    FREE,
    LIFE_AT,
    NO_SESSION,
    RECORD,
    RULE,
    SESSION,
    SESSION_BODY,
    TOUCH,
    Memory,
)
from napt_lab.nat_node.persistence.restore import Damaged, restore
from napt_lab.nat_node.persistence.state_file import StateFile, recover
from tests.packets import ping, tcp, udp
from tests.unit.nat_node.nat_testing import (
    ALICE,
    APD,
    BEHAVIORS,
    BOB,
    OTHER,
    SERVER,
    Nat,
    check_table,
    make_room,
)


def busy(**settings):
    """A NAPT with a rule of each kind and connections in each state."""
    nat = Nat(**settings)
    nat.add_rule(6, 8080, f"{BOB}:80")
    nat.add_rule(17, 8080, f"{BOB}:80")
    nat.connect(f"{ALICE}:40000", f"{SERVER}:80")
    nat.out(tcp(f"{ALICE}:40001", f"{SERVER}:80"))
    nat.connect(f"{ALICE}:40002", f"{SERVER}:80")
    nat.out(tcp(f"{ALICE}:40002", f"{SERVER}:80", "FA"))
    nat.connect(f"{ALICE}:40003", f"{SERVER}:80")
    nat.out(tcp(f"{ALICE}:40003", f"{SERVER}:80", "R"))
    assert nat.outside(tcp(f"{OTHER}:1", "24.9.3.7:8080"))
    for server in (SERVER, OTHER):
        nat.wait(1)
        nat.out(udp(f"{ALICE}:53", f"{server}:53"))
        nat.out(ping(BOB, server))
    return nat


def picture(table):
    """All that is to come back."""
    return [
        (
            m.serial, m.protocol, m.internal, m.external, m.remote, m.created, m.explicit,
            m.made_by, m.first_remote,
            tuple((s.serial, s.remote, s.state, s.lifetime) for s in m.sessions),
        )
        for m in table
    ]  # fmt: skip


def open_many(nat, count):
    """So many UDP sessions, each with a rule; without a packet, for there are thousands."""
    remote = (parse_address(SERVER), 53)
    for port in range(1, count + 1):
        nat.translator.sessions.begin(17, (parse_address(ALICE), port), remote, nat.now)


def records_of(nat):
    return memoryview(bytearray(nat.memory.snapshot()))


def restored(nat, records):
    table = Table(nat.settings, random.Random(1).randrange)
    restore(records, nat.settings, table, nat.now)
    return table


@pytest.mark.parametrize("filtering", BEHAVIORS)
@pytest.mark.parametrize("mapping", BEHAVIORS)
def test_all_comes_back(mapping, filtering):
    nat = busy(mapping=mapping, filtering=filtering)
    before = picture(nat.translator.table)
    assert len({rule[1] for rule in before}) == 3
    nat.kill()
    assert picture(nat.translator.table) == before


def test_connections_go_on_and_new_rules_get_new_numbers():
    nat = Nat()
    external = nat.connect(f"{ALICE}:40000", f"{SERVER}:80")
    nat.kill()
    assert nat.outside(tcp(f"{SERVER}:80", external, "A", b"on"))
    nat.out(udp(f"{ALICE}:53", f"{SERVER}:53"))
    serials = [rule.serial for rule in nat.rules]
    assert len(set(serials)) == 2


def test_an_idle_time_goes_on_where_it_was_and_never_ends_too_early():
    nat = Nat(udp_idle=100)
    nat.out(udp(f"{ALICE}:53", f"{SERVER}:53"))
    nat.wait(60)
    nat.out(udp(f"{ALICE}:53", f"{SERVER}:53"))
    nat.wait(50)
    nat.kill()
    nat.wait(49.9)
    assert nat.rules
    nat.wait(0.2 + TOUCH)
    assert not nat.rules


def test_what_ends_leaves_its_room_to_others():
    nat = Nat()
    for _ in range(3):
        open_many(nat, FEWEST)
        assert len(nat.rules) == FEWEST
        nat.now += 301
        nat.translator.expire(nat.now)
        assert set(records_of(nat)[::RECORD]) == {FREE}
    assert len(records_of(nat)) == FEWEST * RECORD


def test_the_room_grows_with_the_table_and_all_of_it_is_kept():
    nat = Nat()
    open_many(nat, FEWEST + 1)
    assert len(records_of(nat)) == 2 * FEWEST * RECORD
    before = picture(nat.translator.table)
    nat.kill()
    assert picture(nat.translator.table) == before


def test_where_there_is_no_room_rules_are_made_but_not_remembered():
    nat = Nat()
    asked = []
    nat.translator = Translator(nat.settings, nat.chance.randrange)
    nat.memory = Memory(
        nat.translator, make_room(b"", 2), 9999, lambda contents, count: asked.append(count), {}
    )
    for port in range(1, 5):
        nat.out(udp(f"{ALICE}:{port}", f"{SERVER}:53"))
    assert len(nat.rules) == 4
    assert asked == [FEWEST]  # once
    assert [nat.memory._places.get(rule) for rule in nat.rules] == [0, RECORD, None, None]
    nat.out(udp(f"{ALICE}:1", f"{OTHER}:53"))  # sessions have no room either
    nat.out(udp(f"{ALICE}:3", f"{OTHER}:53"))
    assert len(restored(nat, records_of(nat))) == 2
    nat.wait(301)  # what is free again is used again
    nat.out(udp(f"{ALICE}:9", f"{SERVER}:53"))
    nat.kill()
    assert [rule.internal[1] for rule in nat.rules] == [9]


def test_a_rule_that_was_left_without_a_session_is_none():
    nat = Nat()
    nat.out(udp(f"{ALICE}:53", f"{SERVER}:53"))
    records = records_of(nat)
    records[LIFE_AT] = NO_SESSION  # and killed before it freed the rule
    assert len(restored(nat, records)) == 0
    assert set(records[::RECORD]) == {FREE}


NAT = busy(mapping=APD)
USED = sum(kind != FREE for kind in records_of(NAT)[::RECORD]) * RECORD


@given(at=st.integers(0, USED - 1), byte=st.integers(0, 255))
def test_one_wrong_byte_is_found_or_does_no_harm(at, byte):
    records = records_of(NAT)
    was = bytes(records[at // RECORD * RECORD : (at // RECORD + 1) * RECORD])
    records[at] = byte
    try:
        restored(NAT, records)
    except Damaged:
        return
    if byte == was[at % RECORD]:
        return
    # What may differ unseen is what changes all the time, and what is not looked at.
    life, behind = range(LIFE_AT, BODY_AT), range(BODY_AT + SESSION_BODY.size + 4, RECORD)
    if at % RECORD not in life and not (was[0] == SESSION and at % RECORD in behind):
        assert (at % RECORD, byte) == (0, FREE), "only that a record is there can be lost"


@given(data=st.binary(max_size=3 * RECORD), kind=st.sampled_from([RULE, SESSION, 7]))
def test_any_bytes_at_all_are_damage_or_nothing(data, kind):
    records = make_room(data, 3)
    records[0] = kind
    with pytest.raises(Damaged):
        restored(NAT, records)


@pytest.mark.parametrize("kind", [RULE, SESSION])
def test_a_record_that_is_there_twice_is_damage(kind):
    records = records_of(NAT)
    (place, *_) = (at for at in range(0, USED, RECORD) if records[at] == kind)
    records[USED : USED + RECORD] = records[place : place + RECORD]
    with pytest.raises(Damaged):
        restored(NAT, records)


def test_a_time_that_is_yet_to_come_is_now():
    """It is written once a second, and the kill may have come between two of its bytes."""
    nat = busy()
    nat.now -= 1
    table = restored(nat, records_of(nat))
    sessions = [session for mapping in table for session in mapping.sessions]
    assert sessions
    assert {session.last_used for session in sessions} == {nat.now}


# -- the file ---------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock.state"


def file_of(path, rules="these"):
    return StateFile(path, Nat().settings, rules)


def start(path, nat, rules="these"):
    file = file_of(path, rules)
    found = recover(lambda choices: Translator(choices, nat.chance.randrange), file, nat.now)
    check_table(found.translator)
    return found.translator, found.goes_on


def written(path):
    """A file with the rules of a busy NAPT."""
    nat = busy()
    records = file_of(path).make_room(bytes(records_of(nat)), FEWEST)
    assert records is not None
    return nat


def test_the_file_has_the_rules_for_its_owner_only(path):
    nat = written(path)
    translator, goes_on = start(path, nat)
    assert goes_on
    assert picture(translator.table) == picture(nat.translator.table)
    halves = translator.sessions.half_open, nat.translator.sessions.half_open
    assert list(map(len, halves)) == [1, 1]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_that_somebody_else_may_have_written_is_set_aside(path):
    written(path)
    path.chmod(0o660)
    translator, goes_on = start(path, Nat())
    assert not goes_on
    assert not len(translator.table)
    assert path.with_name(f"{path.name}.bad").exists()


def test_what_is_written_is_in_the_file_at_once(path):
    nat = Nat()
    nat.translator, goes_on = start(path, nat)
    assert not goes_on
    open_many(nat, 3 * FEWEST)  # more than the first file and the second have room for
    again, goes_on = start(path, nat)
    assert goes_on
    assert picture(again.table) == picture(nat.translator.table)


@pytest.mark.parametrize("what", ["boot", "settings"])
def test_a_file_of_another_boot_or_other_settings_is_not_used(path, what, monkeypatch, capfd):
    nat = written(path)
    settings = "others" if what == "settings" else "these"
    if what == "boot":
        boot = path.with_name("boot")
        boot.write_text("f" * 36)
        monkeypatch.setattr(state_file, "_BOOT", boot)
    translator, goes_on = start(path, nat, settings)
    assert not goes_on
    assert len(translator.table) == 0
    assert "of another boot, or of other settings" in capfd.readouterr().err
    assert start(path, nat, settings)[1], "the new file is good"


IN_RULE = state_file._HEAD_SIZE + BODY_AT + 10  # within the first record
DAMAGE = {
    "empty": (lambda data: b"", "it ends after 0 bytes, within its head"),
    "cut in the head": (lambda data: data[:20], "it ends after 20 bytes, within its head"),
    "cut": (lambda data: data[:-1], "where its head says"),
    "too long": (lambda data: data + bytes(RECORD), "where its head says"),
    "zeros": (lambda data: bytes(len(data)), "its head is not one that this program has written"),
    "text": (lambda data: b"hello " * 1000, "its head is not one that this program has written"),
    "a wrong byte in a record": (
        lambda data: data[:IN_RULE] + bytes([data[IN_RULE] ^ 1]) + data[IN_RULE + 1 :],
        "record 0: its checksum is wrong",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_set_aside_and_the_table_is_empty(path, name, capfd):
    change, why = DAMAGE[name]
    nat = written(path)
    damaged = change(path.read_bytes())
    path.write_bytes(damaged)
    translator, goes_on = start(path, nat)
    assert not goes_on
    assert len(translator.table) == 0
    said = capfd.readouterr()
    assert why in said.err
    assert '"event": "state-damaged"' in said.out
    assert path.with_name(f"{path.name}.bad").read_bytes() == damaged
    assert start(path, nat)[1], "the new file is good"


def test_a_file_larger_than_any_table_is_set_aside(path, capfd):
    nat = written(path)
    assert file_of(path).make_room(b"", 500_000)
    assert not start(path, nat)[1]
    assert "it has 500000 records where 393214 are the most" in capfd.readouterr().err


def test_what_is_no_file_is_not_followed(path, capfd):
    nat = written(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    assert not start(path, nat)[1]
    assert "it cannot be read" in capfd.readouterr().err
    assert path.with_name("elsewhere").stat().st_size > RECORD


def test_without_a_place_for_the_file_there_is_a_translator_all_the_same(tmp_path, capfd):
    nat = Nat()
    nat.translator, goes_on = start(tmp_path / "missing" / "state", nat)
    assert not goes_on
    assert nat.out(udp(f"{ALICE}:53", f"{SERVER}:53"))
    assert "No such file or directory: no room for 1024 records" in capfd.readouterr().err


def test_what_was_changed_meanwhile_holds_for_the_next_translator(path, capfd):
    """It is started with the same command line; or with another one that says the same."""
    nat = written(path)
    file = file_of(path)
    assert file.open() is not None
    changes = {"idle.udp": "30.0", "filtering": "endpoint-independent"}
    file.change(changes)
    translator, goes_on = start(path, nat)
    assert goes_on
    assert translator.settings == changed(nat.settings, changes)
    assert picture(translator.table) == picture(nat.translator.table)

    again = StateFile(path, translator.settings, "these")
    assert recover(lambda choices: Translator(choices, lambda _: 0), again, nat.now).goes_on
    assert again.changes == {}
    again.change({"idle.udp": "40.0"})
    assert not start(path, nat)[1]  # the first command line is no longer that of this file
    assert "of other settings" in capfd.readouterr().err


def test_hosts_that_came_later_are_known_to_the_next_translator(path, capfd):
    """What is in the file holds whichever hosts the command line says that there are."""
    nat = written(path)
    given = replace(nat.settings, hosts=frozenset([parse_address(ALICE)]))

    def next_of(settings):
        file = StateFile(path, settings, "these")
        found = recover(lambda choices: Translator(choices, lambda _: 0), file, nat.now)
        assert found.goes_on
        return found

    next_of(given).file.change({"hosts": "10.0.0.20 10.0.0.21"})
    translator = next_of(given).translator
    came = {parse_address("10.0.0.20"), parse_address("10.0.0.21")}
    assert translator.settings.hosts == given.hosts | came
    assert picture(translator.table) == picture(nat.translator.table)
    assert next_of(translator.settings).translator.settings == translator.settings
    with pytest.raises(OSError, match="bytes of changes; allowed: 2048"):
        next_of(given).file.change({"hosts": "10.0.0.20 " * 300})
    assert next_of(given).translator.settings.hosts == given.hosts | came
    assert capfd.readouterr().err == ""


def test_a_larger_file_has_the_changes_too(path):
    nat = Nat()
    found = recover(lambda choices: Translator(choices, lambda _: 0), file_of(path), nat.now)
    assert found.memory is not None
    found.file.change({"session-limit": "200000"})
    nat.translator = found.translator
    found.translator.change(found.file.settings)
    found.memory.change(found.file.settings)
    open_many(nat, 2 * FEWEST)
    translator, goes_on = start(path, nat)
    assert goes_on
    assert translator.settings.session_limit == 200_000
