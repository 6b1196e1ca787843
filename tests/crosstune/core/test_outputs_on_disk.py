"""Outputs on disk: modes, locks, and what is synced before the final rename."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from crosstune.core import outputs
from crosstune.core.errors import ConfigError
from crosstune.core.outputs import new_file, new_folder
from tests.crosstune.core.test_outputs import fill


def test_everything_is_on_disk_before_the_rename(tmp_path, monkeypatch):
    """A crash after the rename must not show an empty file: each file is synced, then the folder is renamed."""
    steps = []
    fsync, rename = os.fsync, Path.rename

    def seen_fsync(descriptor):
        steps.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def seen_rename(self, target):
        steps.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(Path, "rename", seen_rename)
    with new_folder(tmp_path / "out") as folder:
        fill(folder)
        (folder / "name" / "1").mkdir(parents=True)
        (folder / "name" / "1" / "model.onnx").write_bytes(b"deep")
        written = {path.stat().st_ino for path in (folder, *folder.rglob("*"))}
    assert len(written) == 6
    assert set(steps[: steps.index("rename")]) == written
    assert steps[-1] == tmp_path.stat().st_ino


def test_a_new_file_is_on_disk_with_its_name(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace

    def seen_fsync(descriptor):
        steps.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def seen_replace(self, target):
        steps.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(Path, "replace", seen_replace)
    with new_file(tmp_path / "out") as stream:
        stream.write(b"x")
    assert steps == [(tmp_path / "out").stat().st_ino, "replace", tmp_path.stat().st_ino]


@pytest.mark.parametrize(("umask", "folder", "file"), [(0o077, 0o700, 0o600), (0o002, 0o775, 0o664)])
def test_the_umask_holds(tmp_path, umask, folder, file):
    before = os.umask(umask)
    try:
        with new_folder(tmp_path / "folder") as made:
            fill(made)
        with new_file(tmp_path / "file") as stream:
            stream.write(b"x")
    finally:
        os.umask(before)
    found = [(tmp_path / name).stat().st_mode & 0o777 for name in ("folder", "folder/data", "file")]
    assert found == [folder, file, file]


@pytest.mark.parametrize("new", [new_folder, new_file])
def test_another_process_that_sweeps_just_before_the_lock(tmp_path, monkeypatch, new):
    """What it removes is made once more."""
    flock, swept = fcntl.flock, []

    def slow(descriptor, operation):
        if not swept:
            (item,) = tmp_path.iterdir()
            swept.append(item)
            outputs._remove(item)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    with new(tmp_path / "out") as sink:
        if new is new_file:
            sink.write(b"x")
    assert len(swept) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_new_file_is_locked_until_it_has_its_name(tmp_path, monkeypatch):
    replace = Path.replace

    def swept_before(self, target):
        outputs._sweep(tmp_path / "out")  # as another process would
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", swept_before)
    with new_file(tmp_path / "out") as stream:
        stream.write(b"x")
    assert (tmp_path / "out").read_bytes() == b"x"


@pytest.mark.fault("L22")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
@pytest.mark.parametrize("new", [new_file, new_folder])
def test_a_file_system_without_locks_is_named_as_the_reason(tmp_path, monkeypatch, new, code):
    def no_locks(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    path = tmp_path / "out"
    with pytest.raises(ConfigError) as caught, new(path):
        pass
    assert str(caught.value) == (
        f"{path}: cannot be locked ({os.strerror(code)}), expected a file system with file locks. Choose another place."
    )
    assert list(tmp_path.iterdir()) == []
