"""Files are whole or as they were, have the mode that was meant, and are read only if plain."""

import os
import stat
from pathlib import Path

import pytest

from batchnorm._pages import append_whole, obstacle, read_plain, write_atomically
from batchnorm.errors import RunError

posix = pytest.mark.skipif(os.name != "posix", reason="modes, links and pipes of POSIX")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def small_files():
    """Let no file grow over 4096 bytes: what a full disk does, without one."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_write_leaves_the_old_content_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    write_atomically(path, b"old")

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match=r"config\.json cannot be written \(disk full\)"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("size", [4097, 1_000_000])
def test_no_room_leaves_what_was_there(tmp_path, size):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"old")
    for write in (write_atomically, append_whole):
        with pytest.raises(RunError, match=r"weights\.pt cannot be written \(File too large\)"):
            write(path, b"x" * size)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
    append_whole(path, b" and new", durable=True)
    assert path.read_bytes() == b"old and new"


def test_an_interruption_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    for write in (write_atomically, lambda *given: append_whole(*given, durable=True)):
        with pytest.raises(KeyboardInterrupt):
            write(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002, 0o000])
def test_a_new_file_has_the_mode_of_the_umask_and_an_old_one_its_own(tmp_path, umask):
    before = os.umask(umask)
    try:
        for write in (write_atomically, append_whole):
            path = tmp_path / f"{write.__name__}.json"
            write(path, b"one")
            assert mode(path) == 0o666 & ~umask
            path.chmod(0o640)
            write(path, b"two")
            assert mode(path) == 0o640
    finally:
        os.umask(before)


@posix
def test_through_a_link_its_target_is_written(tmp_path):
    target, folder = tmp_path / "inside" / "target.pt", tmp_path / "links"
    target.parent.mkdir()
    folder.mkdir()
    near, far = folder / "near.pt", folder / "far.pt"
    near.symlink_to("../inside/target.pt")
    far.symlink_to(near)
    for link, content in ((near, b"made through a link"), (far, b"two links")):
        write_atomically(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert sorted(folder.iterdir()) == [far, near]
    assert list(target.parent.iterdir()) == [target]


@posix
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
        (lambda path: path.symlink_to("none/file"), "No such file"),
        (os.mkfifo, "No such device or address"),
        (lambda path: path.symlink_to("/dev/full"), "No space left"),
    ],
)
def test_what_cannot_be_written_is_one_error_and_stays(tmp_path, make, reason):
    path = tmp_path / "out.json"
    make(path)
    before = path.lstat().st_mode
    with pytest.raises(RunError, match=rf"out\.json cannot be written \(.*{reason}"):
        write_atomically(path, b"new")
    assert path.lstat().st_mode == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_protected_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunError, match="write-protected"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert obstacle(path) == "it is write-protected"
    assert obstacle(tmp_path / "new") == "its folder is write-protected"


@posix
def test_a_device_is_written_and_stays_one():
    nowhere = Path(os.devnull)
    write_atomically(nowhere, b"x")
    assert stat.S_ISCHR(nowhere.stat().st_mode)


def test_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / ("ü" * 125 + ".json")
    write_atomically(path, b"x")
    assert path.read_bytes() == b"x"


@posix
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "it is a folder"),
        (os.mkfifo, "it is no plain file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is no plain file"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
        (lambda path: path.symlink_to("none"), "No such file"),
    ],
)
def test_only_plain_files_are_read(tmp_path, make, reason):
    path = tmp_path / "in.json"
    make(path)
    with pytest.raises(OSError, match=reason):
        read_plain(path)
