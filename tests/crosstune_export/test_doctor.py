"""The findings of ``doctor``, each provoked, and the limits of control groups."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import metadata

import pytest

from crosstune_export import ConfigError, ResourceError, doctor
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.write import write_bundle
from crosstune_export.runtime import machine_limits, session
from crosstune_export.runtime.kernels import fast_kernels
from crosstune_export.runtime.session import default_threads, open_session


def test_a_good_machine_and_a_good_bundle(tiny_bundle_dir):
    findings = {finding.name: finding for finding in doctor.examine(tiny_bundle_dir)}
    assert list(findings) == [
        "versions", "wheels", "machine", "providers", "processor", "kernels", "threads", "bundle", "memory",
        "bundle's kernels", "placement", "self-test",
    ]  # fmt: skip
    assert [finding.name for finding in findings.values() if finding.status == doctor.PROBLEM] == []
    assert findings["versions"].details["onnxruntime"] == metadata.version("onnxruntime")
    assert findings["self-test"].details["passed"] is True
    placed = findings["placement"].details
    assert set(placed) == {"CPUExecutionProvider"}
    assert placed["CPUExecutionProvider"]["Softmax"] >= 1, "the label softmax is a node that ran"
    for finding in findings.values():
        assert finding.advice.endswith(".") and "\n" not in finding.advice
        json.dumps(finding.to_json())


@pytest.mark.fault("I2")
def test_wheels_that_clash(monkeypatch):
    owners = metadata.packages_distributions()
    monkeypatch.setattr(
        metadata, "packages_distributions", lambda: owners | {"onnxruntime": ["onnxruntime", "onnxruntime-gpu"]}
    )
    finding = doctor.wheels()
    assert (finding.status, finding.found, finding.advice) == (
        "problem",
        "onnxruntime comes from onnxruntime and onnxruntime-gpu",
        "Run: pip uninstall onnxruntime onnxruntime-gpu, then install one of them.",
    )


@pytest.mark.fault("I2")
def test_a_wheel_that_is_missing(monkeypatch):
    owners = {name: group for name, group in metadata.packages_distributions().items() if name != "onnxruntime"}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: owners)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for finding in (doctor.wheels(), doctor.providers(("CPUExecutionProvider",))):
        assert finding.status == "problem"
        assert finding.advice == "Run: pip install 'crosstune-export[cpu]' (or '[gpu]' for CUDA)."


@pytest.mark.fault("I1")
def test_a_provider_that_is_not_there(tiny_bundle_dir):
    findings = {finding.name: finding for finding in doctor.examine(tiny_bundle_dir, "cuda")}
    asked = findings["providers"]
    assert asked.status == "problem" and asked.found.startswith("requested CUDAExecutionProvider; available: ")
    assert asked.details["asked"] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    placed = findings["placement"]
    assert (placed.status, placed.advice) == ("note", "Nothing runs on CUDAExecutionProvider: see providers above.")
    with pytest.raises(ConfigError, match=r"^provider: found 'tpu', expected one of cpu, cuda\.$"):
        list(doctor.examine(device="tpu"))


@pytest.mark.fault("I6")
@pytest.mark.parametrize(
    ("patch", "status", "advice"),
    [
        (("sys.maxsize", (1 << 31) - 1), "problem", "Use a 64-bit little-endian machine: onnxruntime has no wheels for this one."),
        (("sys.byteorder", "big"), "problem", "Use a 64-bit little-endian machine: onnxruntime has no wheels for this one."),
        (("platform.libc_ver", lambda: ("", "")), "note", "Use an image with glibc: onnxruntime has no wheels for musl."),
    ],
)  # fmt: skip
def test_machines_without_onnxruntime(monkeypatch, patch, status, advice):
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr(*patch)
    finding = doctor.machine()
    assert (finding.status, finding.advice) == (status, advice)


@pytest.mark.fault("I3")
@pytest.mark.parametrize(
    ("flags", "status", "features"),
    [
        ({"avx2", "avx512f", "avx512_vnni", "sse2"}, "ok", ["avx512_vnni", "avx512f", "avx2"]),
        ({"avx2", "avx_vnni"}, "ok", ["avx_vnni", "avx2"]),
        ({"avx2"}, "note", ["avx2"]),
        ({"asimd", "asimddp"}, "ok", ["asimddp", "asimd"]),
        ({"sse2"}, "note", []),
        (None, "note", None),
    ],
)
def test_processors(flags, status, features):
    finding = doctor.processor(None if flags is None else frozenset(flags))
    assert (finding.status, finding.details["features"]) == (status, features)


def test_flags_as_the_kernel_lists_them(tmp_path):
    (tmp_path / "x86").write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor\t: 1\n", "utf-8")
    (tmp_path / "arm").write_text("processor\t: 0\nFeatures\t: asimd i8mm\n", "utf-8")
    assert doctor._cpu_flags(tmp_path / "x86") == {"fpu", "avx2", "avx512_vnni"}
    assert doctor._cpu_flags(tmp_path / "arm") == {"asimd", "i8mm"}
    assert doctor._cpu_flags(tmp_path / "none") is None


@pytest.mark.fault("I4")
def test_a_self_test_that_fails(tmp_path, tiny_fp32_bundle_dir):
    files = read_bundle(tiny_fp32_bundle_dir)
    body = json.loads(files.selftest)
    body["samples"][0]["probs"][0] += 0.01
    folder = shutil.copytree(tiny_fp32_bundle_dir, tmp_path / "x.bundle")
    write_bundle(folder, files.manifest, files.model, files.tokenizer, json.dumps(body).encode())
    last = list(doctor.examine(folder))[-1]
    assert (last.name, last.status, last.exit_code) == ("self-test", "problem", 6)
    assert "largest probability difference 1.0e-02 (at most 1e-04)" in last.found


def test_a_bundle_that_is_refused(tmp_path):
    *_, last = doctor.examine(tmp_path / "none")
    assert (last.name, last.status, last.exit_code) == ("bundle", "problem", 5)
    assert last.found == f"{tmp_path / 'none'}: found nothing, expected a bundle folder"
    assert last.advice == "Build one with crosstune-export build."


@pytest.fixture
def groups(tmp_path):
    """Creates folders of control groups, and returns the arguments of the functions that read them."""

    def call(own: str, files: dict[str, str]):
        (tmp_path / "self").write_text(own, "ascii")
        for name, content in files.items():
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "ascii")
        return tmp_path / "root", tmp_path / "self"

    return call


@pytest.mark.fault("I8")
@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b\n", {"cpu.max": "400000 100000", "a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}, 0.5),
        ("3:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "200000", "cpu/x/cpu.cfs_period_us": "100000"}, 2),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("", {}, None),
    ],
    ids=["v2 none", "v2", "v2 above", "v1", "v1 none", "no groups"],
)
def test_processor_limits(groups, own, files, limit):
    assert machine_limits.processor_limit(*groups(own, files)) == limit


@pytest.mark.fault("I8")
def test_threads_are_those_of_the_container(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)
    for limit, threads in ((None, 64), (1.5, 2), (0.2, 1), (100, 64)):
        monkeypatch.setattr(session, "processor_limit", lambda limit=limit: limit)
        assert default_threads() == threads


def test_memory_limits(groups):
    found = groups(
        "0::/a\n",
        {
            "a/memory.max": "1000000",
            "a/memory.current": "900000",
            "a/memory.stat": "anon 1\ninactive_file 300000\n",
            "memory.max": "max",
        },
    )
    assert machine_limits.memory_left_bytes(*found) == 400_000
    version_1 = {"memory/memory.limit_in_bytes": str((1 << 63) - 4096), "memory/memory.usage_in_bytes": "5"}
    assert (
        machine_limits.memory_left_bytes(
            *groups("4:memory:/\n", version_1 | {"memory.max": "max", "a/memory.max": "max"})
        )
        is None
    )


@pytest.mark.fault("I7")
def test_too_little_memory(tiny_bundle_dir, monkeypatch):
    import onnxruntime

    files = read_bundle(tiny_bundle_dir)
    size = f"{len(files.model) / 1e6:.0f}"
    rest = (
        f"expected room for a graph of {size} MB and its copies. Raise the limit, or build a smaller bundle "
        "(build --precision int8, --max-size-mb)."
    )
    monkeypatch.setattr(session, "memory_left_bytes", lambda: len(files.model) - 1)
    with pytest.raises(ResourceError) as caught:
        open_session(files.model, files.manifest.graph, "here")
    assert (str(caught.value), caught.value.exit_code) == (f"here: memory: found {size} MB left, {rest}", 7)

    def full(*arguments, **rest):
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr(session, "memory_left_bytes", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", full)
    with pytest.raises(ResourceError) as caught:
        open_session(files.model, files.manifest.graph, "here")
    assert str(caught.value) == f"here: memory: found less than that left, {rest}"


def test_kernels():
    here = fast_kernels()
    finding = doctor.kernels()
    assert finding.details == {"kernels": here.name or "portable", "library": here.path is not None}
    assert finding.status in ("ok", "note")
