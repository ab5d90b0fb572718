"""The folder: whole files or none, bounded space, nothing outside it."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import ExitStack

import pytest
from aiohttp import ETag

from napt_lab.servers.files.conditions import ANY, Conditions
from napt_lab.servers.files.storage import TEMPORARY, Folder, Limits, Refused

NEW = Conditions()
REPLACE = Conditions([ANY])


@pytest.fixture
def path(tmp_path):
    return tmp_path


@pytest.fixture
def folder(path):
    return Folder(path, Limits(max_file=1000, max_total=2500, max_files=4, max_uploads=3))


def put(folder, name, content, conditions=NEW):
    with folder.upload(name, conditions) as upload:
        upload.write(content)
        return folder.publish([upload])[0]


def refused(status):
    return pytest.raises(Refused, check=lambda refusal: refusal.status == status)


def test_seen_only_when_complete(folder, path):
    with folder.upload("a", NEW) as upload:
        upload.write(b"half")
        assert folder.list() == []
        assert [entry.name for entry in path.iterdir()] == [upload.temporary]
        with refused(404):
            folder.open("a")
        (stored,) = folder.publish([upload])
    assert (path / "a").read_bytes() == b"half"
    assert stored.sha256 == hashlib.sha256(b"half").hexdigest()
    assert [file.name for file in folder.list()] == ["a"]
    assert [entry.name for entry in path.iterdir()] == ["a"]


def test_an_upload_that_fails_leaves_nothing(folder, path):
    with pytest.raises(ZeroDivisionError), folder.upload("a", NEW) as upload:  # noqa: PT012
        upload.write(b"half")
        assert folder.used == 4
        raise ZeroDivisionError
    assert list(path.iterdir()) == []
    assert folder.used == 0


def test_what_a_crash_left_is_removed_at_the_next_start(path):
    (path / f"{TEMPORARY}0123").write_bytes(b"half")
    (path / "a").write_bytes(b"whole")
    folder = Folder(path, Limits(100, 100, 10, 1))
    assert [entry.name for entry in path.iterdir()] == ["a"]
    assert folder.used == 5


def test_two_servers_do_not_share_a_folder(folder, path):
    with pytest.raises(BlockingIOError):
        Folder(path, folder.limits)


def test_of_many_uploads_of_one_name_one_wins(folder, path):
    contents = [bytes([number]) * 100 for number in range(3)]
    results = []
    barrier = threading.Barrier(len(contents))

    def upload_one(content):
        with folder.upload("a", NEW) as upload:
            upload.write(content)
            barrier.wait(10)
            try:
                folder.publish([upload])
                results.append(content)
            except Refused as refusal:
                results.append(refusal.status)

    threads = [threading.Thread(target=upload_one, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    winners = [result for result in results if isinstance(result, bytes)]
    assert len(winners) == 1
    assert results.count(409) == 2
    assert (path / "a").read_bytes() == winners[0]
    assert folder.used == 100


def test_a_name_taken_behind_our_back_is_not_overwritten(folder, path):
    with folder.upload("a", NEW) as upload:
        upload.write(b"ours")
        (path / "a").write_bytes(b"theirs")
        with refused(409):
            folder.publish([upload])
    assert (path / "a").read_bytes() == b"theirs"


def test_replacing_the_version_that_was_seen(folder, path):
    first = put(folder, "a", b"one")
    seen = Conditions([ETag(first.tag)])
    put(folder, "a", b"three", seen)
    assert (path / "a").read_bytes() == b"three"
    assert folder.used == 5
    with refused(412):
        put(folder, "a", b"four", seen)
    with refused(412):  # a version of the same size is another version
        put(folder, "a", b"seven", seen)
    assert (path / "a").read_bytes() == b"three"
    assert len(list(path.iterdir())) == 1


def test_a_reader_keeps_the_version_it_opened(folder):
    put(folder, "a", b"old")
    file, _ = folder.open("a")
    with file:
        put(folder, "a", b"new", REPLACE)
        assert file.read() == b"old"


def test_one_file_too_large(folder, path):
    with folder.upload("a", NEW) as upload:
        upload.write(b"x" * 1000)
        with refused(413):
            upload.write(b"x")
    assert list(path.iterdir()) == []


def test_concurrent_uploads_cannot_exceed_the_total_together(folder):
    uploads = (folder.upload(name, NEW) for name in "abc")
    with next(uploads) as a, next(uploads) as b, next(uploads) as c:
        for upload in (a, b, c):
            upload.expect(1000)  # what is announced takes no space from others
        assert folder.used == 0
        a.write(b"x" * 1000)
        b.write(b"x" * 1000)
        with refused(507):
            c.expect(501)
        with refused(507):
            c.write(b"x" * 501)
        c.write(b"x" * 400)
        folder.publish([a])
        assert folder.used == 2400
    assert folder.used == 1000
    put(folder, "c", b"x" * 1000)  # b has given its space back


def test_files_put_there_by_hand_count(folder, path):
    (path / "by hand").write_bytes(b"x" * 2400)
    with folder.upload("a", NEW) as upload:
        upload.expect(100)
        with refused(507):
            upload.expect(101)
    assert folder.used == 2400


def test_the_number_of_files_is_bounded(folder):
    for name in "abcd":
        put(folder, name, b"")
    with refused(507):
        put(folder, "e", b"")
    put(folder, "a", b"replaced", REPLACE)


def test_only_files_of_this_folder_are_served(folder, path, tmp_path_factory):
    secret = tmp_path_factory.mktemp("outside") / "secret"
    secret.write_bytes(b"secret")
    (path / "link").symlink_to(secret)
    (path / "folder").mkdir()
    os.mkfifo(path / "fifo")
    (path / ".hidden").write_bytes(b"hidden")
    (path / "file").write_bytes(b"file")
    assert [file.name for file in folder.list()] == ["file"]
    for name in ("link", "folder", "fifo"):
        with refused(404):
            folder.open(name)
        with refused(409):
            put(folder, name, b"x", REPLACE)
    assert secret.read_bytes() == b"secret"
    file, _ = folder.open("file")  # the control: an ordinary file opens
    file.close()


def test_the_files_of_a_form_are_published_together_or_not_at_all(folder, path):
    put(folder, "old", b"old")
    put(folder, "taken", b"taken")

    def publish(*wanted):
        with ExitStack() as stack:
            uploads = [stack.enter_context(folder.upload(*one)) for one in wanted]
            for upload in uploads:
                upload.write(b"new")
            return [stored.name for stored in folder.publish(uploads)]

    with refused(409):
        publish(("a", NEW), ("old", REPLACE), ("taken", NEW))
    with refused(507):
        publish(("a", NEW), ("b", NEW), ("c", NEW))
    assert sorted(entry.name for entry in path.iterdir()) == ["old", "taken"]
    assert (path / "old").read_bytes() == b"old"
    assert folder.used == 8
    assert publish(("a", NEW), ("old", REPLACE), ("b", NEW)) == ["a", "old", "b"]
    assert sorted(entry.name for entry in path.iterdir()) == ["a", "b", "old", "taken"]
    assert (path / "old").read_bytes() == b"new"
    assert folder.used == 14


def test_a_name_that_is_taken_at_the_last_moment_undoes_the_whole_form(folder, path, monkeypatch):
    def current(name):
        """Free when it is looked at; then another program makes the second of them."""
        if name == "b":
            (path / "b").write_bytes(b"theirs")

    monkeypatch.setattr(folder, "_current", current)
    with folder.upload("a", NEW) as a, folder.upload("b", NEW) as b:
        for upload in (a, b):
            upload.write(b"ours")
        with refused(409):
            folder.publish([a, b])
    assert [entry.name for entry in path.iterdir()] == ["b"]
    assert (path / "b").read_bytes() == b"theirs"
