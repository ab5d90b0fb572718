"""What stands at a path while a file comes over a network, and after it."""

from __future__ import annotations

import os
import stat

import pytest

from napt_lab.servers.shared.arriving_file import arriving_file


def test_a_file_replaces_another_only_when_it_is_whole(tmp_path):
    target, other = tmp_path / "x", tmp_path / "x.part"
    target.write_bytes(b"old")
    other.write_bytes(b"mine")
    with arriving_file(target) as file:
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert sorted(tmp_path.iterdir()) == [target, other]
    assert other.read_bytes() == b"mine"


def interrupted(target):
    with arriving_file(target) as file:
        file.write(b"half")
        raise KeyboardInterrupt


@pytest.mark.parametrize("before", [b"old", None])
def test_what_breaks_off_leaves_nothing(tmp_path, before):
    target = tmp_path / "x"
    if before is not None:
        target.write_bytes(before)
    with pytest.raises(KeyboardInterrupt):
        interrupted(target)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before] * (before is not None)


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with arriving_file(pipe) as file:
        file.write(b"new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
