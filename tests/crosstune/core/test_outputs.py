"""An output is complete or absent, whatever fails."""

import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from crosstune.core import outputs
from crosstune.core.errors import ConfigError, OutputExistsError, ResourceError
from crosstune.core.outputs import check_output, new_file, new_folder


def tree(folder):
    """Every file below a folder with its bytes; folders with None."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def fill(folder, text="new"):
    (folder / "marker.json").write_text(text)
    (folder / "data").write_bytes(b"\0" * 100)


WHOLE = {"out": None, "out/data": b"\0" * 100, "out/marker.json": b"new"}


def test_a_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "out") as folder:
        assert folder.parent == tmp_path  # a sibling: the last step is a rename within one file system
        assert not (tmp_path / "out").exists()
        fill(folder)
    assert tree(tmp_path) == WHOLE
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_missing_parents_are_made(tmp_path):
    with new_folder(tmp_path / "a" / "b" / "out") as folder:
        fill(folder)
    assert tree(tmp_path / "a" / "b") == WHOLE
    with new_file(tmp_path / "c" / "d.txt") as stream:
        stream.write(b"x")
    assert (tmp_path / "c" / "d.txt").read_bytes() == b"x"


@pytest.mark.fault("C7")
def test_an_old_folder_is_replaced_with_all_it_holds(tmp_path):
    with new_folder(tmp_path / "out") as folder:
        fill(folder, "old")
        (folder / "extra").mkdir()
        (folder / "extra" / "more").write_text("old")
    with new_folder(tmp_path / "out") as folder:
        assert (tmp_path / "out" / "marker.json").read_text() == "old"  # until the new one is complete
        fill(folder)
    assert tree(tmp_path) == WHOLE


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("old", [False, True])
def test_nothing_changes_when_the_block_raises(tmp_path, error, old):
    if old:
        with new_folder(tmp_path / "out") as folder:
            fill(folder, "old")
        (tmp_path / "file").write_bytes(b"old")
    before = tree(tmp_path)
    with pytest.raises(type(error)) as caught, new_folder(tmp_path / "out") as folder:
        fill(folder)
        raise error
    assert caught.value is error
    with pytest.raises(type(error)) as caught, new_file(tmp_path / "file") as stream:
        stream.write(b"new")
        raise error
    assert caught.value is error
    assert tree(tmp_path) == before


@pytest.mark.fault("E5")
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir", "write"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, call, old):
    if old:
        with new_folder(tmp_path / "out") as folder:
            fill(folder, "old")
    before = tree(tmp_path)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    elif call == "rename":
        rename = Path.rename

        def last_step(self, target):
            return full() if self.suffix == ".tmp" else rename(self, target)

        monkeypatch.setattr(Path, "rename", last_step)
        monkeypatch.setattr(outputs, "_exchange", lambda one, other: False)  # as on a system that cannot
    elif call == "mkdir":
        monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(ResourceError) as caught, new_folder(tmp_path / "out") as folder:
        fill(folder)
        if call == "write":
            full()
    assert str(caught.value) == (
        f"{tmp_path / 'out'}: cannot be written (No space left on device). Free some space or choose another place."
    )
    assert isinstance(caught.value.__cause__, OSError)
    assert tree(tmp_path) == before


@pytest.mark.fault("E5")
@pytest.mark.parametrize("call", ["fsync", "replace", "open", "write"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    target = tmp_path / "out.json"
    target.write_bytes(b"old")

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    owner = {"fsync": os, "replace": Path, "open": os}.get(call)
    if owner is not None:
        monkeypatch.setattr(owner, call, full)
    with pytest.raises(ResourceError) as caught, new_file(target) as stream:
        stream.write(b"new")
        if call == "write":
            full()
    assert str(caught.value) == (
        f"{target}: cannot be written (No space left on device). Free some space or choose another place."
    )
    assert tree(tmp_path) == {"out.json": b"old"}


def test_a_file_is_replaced_whole(tmp_path):
    target = tmp_path / "out.json"
    target.write_bytes(b"old")
    with new_file(target) as stream:
        stream.write(b"new")
        assert target.read_bytes() == b"old"
    assert tree(tmp_path) == {"out.json": b"new"}
    assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.fault("C7")
def test_an_output_that_is_there_needs_force(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (path / "marker.json").write_text("{}")
    with pytest.raises(OutputExistsError) as caught:
        check_output(path, force=False, what="checkpoint", owned_marker="marker.json")
    assert str(caught.value) == (f"{path}: is already there. Choose another checkpoint, or pass --force to replace it.")
    check_output(path, force=True, what="checkpoint", owned_marker="marker.json")


@pytest.mark.parametrize("kind", ["empty folder", "folder", "file", "dangling link"])
def test_force_never_replaces_what_is_not_ours(tmp_path, kind):
    path = tmp_path / "home"
    if kind == "file":
        path.write_text("precious")
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.mkdir()
        if kind == "folder":
            (path / "thesis.tex").write_text("precious")
    with pytest.raises(OutputExistsError) as caught:
        check_output(path, force=True, what="bundle", owned_marker="manifest.json")
    assert str(caught.value) == (
        f"{path}: is not a bundle (no manifest.json), --force will not replace it. Remove it yourself."
    )


def test_a_folder_is_never_replaced_by_a_file(tmp_path):
    """Found before the work is done, and not when it is to be written."""
    with pytest.raises(OutputExistsError) as caught:
        check_output(tmp_path, force=True, what="report")
    assert str(caught.value) == f"{tmp_path}: is a folder, expected a file. Choose another report."


@pytest.mark.fault("C8")
def test_a_parent_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / "sub" / "out"
    with pytest.raises(ConfigError) as caught:
        check_output(path, force=False, what="bundle")
    assert (
        str(caught.value) == f"{path}: {tmp_path / 'file'} cannot be written (Not a directory). Choose another place."
    )
    for new in (new_folder, new_file):
        with pytest.raises(ConfigError) as caught, new(path):
            pass
        assert str(caught.value) == f"{path}: cannot be written (Not a directory). Choose another place."
    assert tree(tmp_path) == {"file": b"x"}


@pytest.mark.fault("C8")
def test_a_folder_that_is_closed_says_why(tmp_path, monkeypatch):
    """Root may write anywhere, so the system's answer is not asked for."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ConfigError) as caught:
        check_output(tmp_path / "out", force=False, what="bundle")
    assert str(caught.value) == (
        f"{tmp_path / 'out'}: {tmp_path} cannot be written (Permission denied). Choose another place."
    )


@pytest.mark.fault("C8")
def test_a_folder_that_vanishes_is_no_full_disk(tmp_path):
    path = tmp_path / "gone" / "out"
    for new in (new_folder, new_file):
        with pytest.raises(ConfigError) as caught, new(path):
            shutil.rmtree(tmp_path / "gone")
        assert str(caught.value) == f"{path}: cannot be written (No such file or directory). Choose another place."
        assert tree(tmp_path) == {}


def test_a_reader_of_something_else_that_goes_away_is_not_this_output(tmp_path):
    for new in (new_folder, new_file):
        with pytest.raises(BrokenPipeError), new(tmp_path / "out"):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    assert tree(tmp_path) == {}


def test_a_new_output_below_folders_that_are_not_there_is_fine(tmp_path):
    check_output(tmp_path / "a" / "b" / "c", force=False, what="bundle", owned_marker="manifest.json")
    assert tree(tmp_path) == {}


@pytest.mark.fault("C9")
@pytest.mark.parametrize(("name", "reason"), [("x" * 300, "File name too long"), ("a\0b", "embedded null")])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name, reason):
    with pytest.raises(ConfigError) as caught:
        check_output(tmp_path / name, force=True, what="bundle", owned_marker="manifest.json")
    assert str(caught.value).startswith(f"{tmp_path / name}: cannot be the bundle ({reason}")
    assert str(caught.value).endswith("). Choose another name.")


@pytest.mark.fault("C9")
@pytest.mark.parametrize("name", ["a b", "quote'\"", "-rf", "new\nline", "é商", "x" * 200])
def test_odd_names_work(tmp_path, name):
    check_output(tmp_path / name, force=False, what="bundle")
    with new_folder(tmp_path / name) as folder:
        fill(folder)
    with new_file(tmp_path / f"{name}.f") as stream:
        stream.write(b"x")
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted([name, f"{name}.f"])


@pytest.mark.fault("E4")
def test_what_a_killed_run_left_is_swept_and_what_a_living_one_makes_is_not(tmp_path):
    for name in (".out.abcd1234.tmp", ".file.abcd1234.tmp"):
        (tmp_path / name).mkdir()
        fill(tmp_path / name)
    others = (".out.mine.tmp", ".other.abcd1234.tmp", "out.abcd1234.tmp", ".out.abcd1234.old")
    for name in others:
        (tmp_path / name).write_bytes(b"not ours")
    with new_folder(tmp_path / "out") as first:
        with new_folder(tmp_path / "out") as second, new_file(tmp_path / "file"):
            assert first.exists()
            fill(second, "second")
        fill(first, "first")
    assert (tmp_path / "out" / "marker.json").read_text() == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["out", "file", *others])


@pytest.mark.fault("E4")
@pytest.mark.skipif(sys.platform != "linux", reason="exchanging two names is asked of Linux")
def test_there_is_no_instant_without_the_old_folder_or_the_new(tmp_path):
    seen, stop = [], threading.Event()

    def look():
        while not stop.is_set():
            seen.append((tmp_path / "out").is_dir())

    with new_folder(tmp_path / "out") as folder:
        fill(folder)
    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(100):
            with new_folder(tmp_path / "out") as folder:
                fill(folder)
    finally:
        stop.set()
        reader.join()
    assert seen
    assert all(seen)


@pytest.mark.fault("E2")
@pytest.mark.parametrize("kind", ["new_folder", "new_file"])
@pytest.mark.parametrize("instant", ["made", "removed"])
def test_an_interrupt_while_a_temporary_is_made_or_removed(tmp_path, kind, instant):
    """Even then nothing is left when the process has ended."""
    program = f"""
import os
from pathlib import Path
from crosstune.core import outputs

def interrupt(*args, **kwargs):
    raise KeyboardInterrupt

def made_and_interrupted(make):
    def call(path):
        make(path)
        interrupt()
    return call

if {instant!r} == "made":
    for name in ("_make_folder", "_make_file"):
        setattr(outputs, name, made_and_interrupted(getattr(outputs, name)))
remove, outputs._remove, unlink, Path.unlink = outputs._remove, interrupt, Path.unlink, interrupt
try:
    with outputs.{kind}(Path("out")) as sink:
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print(sorted(os.listdir()))
outputs._remove, Path.unlink = remove, unlink
if os.fork() == 0:
    raise SystemExit  # the exit handler of a fork must not remove outputs of its parent
os.wait()
print(sorted(os.listdir()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True
    )
    before, after_fork = done.stdout.splitlines()
    assert before == after_fork
    assert before.startswith("['.out.")
    assert tree(tmp_path) == {}


@pytest.mark.fault("E2")
@pytest.mark.parametrize("kind", ["new_folder", "new_file"])
def test_an_interrupt_at_every_instant(tmp_path, kind):
    """Before each instruction of an output: when the process has ended, nothing is left but a complete output."""
    program = f"""
import atexit, contextlib, os, sys
from pathlib import Path
from crosstune.core import outputs

def write():
    with outputs.{kind}(Path("out")) as sink:
        Path(sink, "data").write_bytes(b"x") if {kind == "new_folder"} else sink.write(b"x")

def interrupt_before(number):
    def trace(frame, event, _):
        nonlocal number
        if frame.f_code.co_filename not in (outputs.__file__, contextlib.__file__):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            number -= 1
            if number == 0:
                raise KeyboardInterrupt
        return trace
    sys.settrace(trace)

write()  # what is loaded on the first call is loaded
number = 0
while True:
    number += 1
    if os.fork() == 0:
        interrupt_before(number)
        interrupted = 0
        try:
            write()
        except KeyboardInterrupt:
            interrupted = 1
        sys.settrace(None)
        atexit._run_exitfuncs()
        os._exit(interrupted)
    _, status = os.wait()
    found = sorted(os.listdir())
    if found != ["out"]:
        sys.exit(f"{{number}}: {{found}}")
    if status == 0:  # no instruction was left to interrupt
        break
print(number)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 100
    data = tmp_path / "out" / "data" if kind == "new_folder" else tmp_path / "out"
    assert data.read_bytes() == b"x"
