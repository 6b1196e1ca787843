"""Folders that are not valid bundles: all runtimes refuse them with the same message, before parsing a file."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from crosstune_export.bundle.manifest import SIZE_LIMITS
from tests.runtimes.every_runtime import refusal

AGAIN = "Build the bundle again."
COPY = "Copy or build the bundle again."
NO_BUNDLE = "expected a bundle folder. Build one with crosstune-export build."


@pytest.fixture
def bundle(tiny_fp32_bundle_dir, tmp_path):
    return shutil.copytree(tiny_fp32_bundle_dir, tmp_path / "x.bundle")


def test_no_bundle(runtime, tmp_path):
    assert refusal(runtime, tmp_path / "none") == f"{tmp_path}/none: found nothing, {NO_BUNDLE}"
    assert refusal(runtime, tmp_path) == f"{tmp_path}: no manifest.json, {NO_BUNDLE}"
    (tmp_path / "file").touch()
    assert refusal(runtime, tmp_path / "file") == (
        f"{tmp_path}/file: manifest.json is missing or misplaced, expected a file written by crosstune-export pack. "
        "Copy or pack the bundle again."
    )


@pytest.fixture
def ordinary_user():
    """Run as an ordinary user, even if the tests run as root."""
    root = os.geteuid() == 0
    if root:
        try:
            os.seteuid(65534)
        except OSError:
            pytest.skip("root cannot become another user here")
    yield
    if root:
        os.seteuid(0)


@pytest.fixture
def closed():
    """A folder that only root can list."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        (Path(name) / "closed.bundle").mkdir()
        (Path(name) / "closed.bundle").chmod(0)
        Path(name).chmod(0o711)
        yield Path(name) / "closed.bundle"
        (Path(name) / "closed.bundle").chmod(0o700)


@pytest.mark.parametrize("runtime", ["python", "c++"], indirect=True)  # Node runs in another process, as root
def test_a_folder_without_permission(runtime, closed, ordinary_user):
    assert refusal(runtime, closed) == (
        f"{closed}: cannot be listed ({os.strerror(errno.EACCES)}), expected a bundle folder. Check its permissions."
    )
    assert refusal(runtime, closed / "x.bundle") == f"{closed}/x.bundle: found nothing, {NO_BUNDLE}"


@pytest.mark.fault("G3", "G5")
@pytest.mark.parametrize("name", SIZE_LIMITS)
def test_a_link_a_pipe_or_a_folder_instead_of_a_file(runtime, bundle, tmp_path, name):
    (bundle / name).rename(tmp_path / "elsewhere")
    if name == "manifest.json":
        assert refusal(runtime, bundle) == f"{bundle}: no manifest.json, {NO_BUNDLE}"
    else:
        assert refusal(runtime, bundle) == f"{bundle}/{name}: missing, expected in every bundle. {COPY}"
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    message = refusal(runtime, bundle)
    assert message.startswith(f"{bundle}/{name}: cannot be opened (")  # the reason differs between platforms
    assert message.endswith(f"), expected a regular file. {COPY}")
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    assert refusal(runtime, bundle) == f"{bundle}/{name}: not a regular file. {COPY}"
    (bundle / name).unlink()
    (bundle / name).mkdir()
    assert refusal(runtime, bundle) == f"{bundle}/{name}: not a regular file. {COPY}"


@pytest.mark.fault("G3")
def test_a_foreign_file(runtime, bundle):
    (bundle / "model.onnx.data").touch()
    assert refusal(runtime, bundle) == (
        f"{bundle}/model.onnx.data: a foreign file, expected only README.md, manifest.json, model.onnx, selftest.json, "
        "tokenizer.json. Remove it or build the bundle again."
    )


@pytest.mark.fault("G6")
@pytest.mark.parametrize("name", SIZE_LIMITS)
def test_a_file_above_the_size_limit_is_not_read(runtime, bundle, name):
    size = SIZE_LIMITS[name] + 1
    os.truncate(bundle / name, size)
    assert refusal(runtime, bundle) == f"{bundle}/{name}: {size} bytes, expected at most {size - 1}. {AGAIN}"


@pytest.mark.fault("G1")
def test_hashes_and_sizes_are_checked(runtime, bundle):
    data = (bundle / "README.md").read_bytes()
    (bundle / "README.md").write_bytes(data + b" ")
    assert refusal(runtime, bundle) == f"{bundle}/README.md: {len(data) + 1} bytes, expected {len(data)}. {COPY}"
    (bundle / "README.md").write_bytes(data[:-1] + b"~")
    assert refusal(runtime, bundle).startswith(f"{bundle}/README.md: sha256 ")
    (bundle / "README.md").write_bytes(data)
    manifest = (bundle / "manifest.json").read_bytes()
    (bundle / "manifest.json").write_bytes(manifest.replace(b'"opset"', b'"Opset"'))
    assert refusal(runtime, bundle) == (
        f"{bundle}/manifest.json: the digest does not match the contents, expected the file as it was built. {COPY}"
    )


@pytest.mark.fault("G1", "G2")
@pytest.mark.slow
def test_any_change_of_any_byte_is_refused(runtime, bundle):
    """Flip a bit, truncate or extend every file: the message names the file, before anything parses it."""
    source = random.Random(2)
    for name in SIZE_LIMITS:
        path = bundle / name
        whole = path.read_bytes()
        for kind in range(100):
            at = source.randrange(len(whole))
            flipped = whole[:at] + bytes([whole[at] ^ 1 << source.randrange(8)]) + whole[at + 1 :]
            path.write_bytes((flipped, flipped, whole[:at], whole + source.randbytes(3))[kind % 4])
            message = refusal(runtime, bundle)
            assert message.startswith(f"{path}: ")
            assert message.endswith(COPY)
        path.write_bytes(whole)
    runtime.load(bundle).close()
