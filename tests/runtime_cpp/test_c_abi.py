"""The C ABI: ownership, errors, threads, processes; and the installed library in other projects."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from crosstune_export import Classifier, __version__
from tests.conftest import REPO_ROOT
from tests.fixtures.c_library import Answer, CallError, Text
from tests.fixtures.edited_bundle import edited, put
from tests.runtime_cpp.conftest import BUILD, built, wheel_library

CMAKE = Path(sys.executable).parent / "cmake"


def error_of(library, status) -> tuple[int, str]:
    return status, library.error().decode()


def test_null_is_an_error(library, tiny_fp32_bundle_dir):
    handle = ctypes.c_void_p()
    text, answer, ids, count = Text.of(b"a"), Answer(), (ctypes.c_int64 * 64)(), ctypes.c_size_t()
    owner = library.load(tiny_fp32_bundle_dir)
    loaded = owner.handle
    for status, name in (
        (library.options_create(None), "options"),
        (library.options_set_threads(None, 1), "options"),
        (library.classifier_create(None, None, ctypes.byref(handle)), "bundle"),
        (library.classifier_create(b"x", None, None), "classifier"),
        (library.classify(None, text, answer, None), "classifier"),
        (library.classify(loaded, None, answer, None), "input"),
        (library.classify(loaded, text, None, None), "answer"),
        (library.tokenize(loaded, text, None, 64, count, None), "ids"),
        (library.tokenize(loaded, text, ids, 64, None, None), "count"),
        (library.selftest(None, None), "classifier"),
    ):
        assert status == 2, name
    assert error_of(library, library.selftest(None, None)) == (2, "classifier: found NULL, expected a pointer.")
    library.options_destroy(None)
    library.classifier_destroy(None)
    assert library.selftest(loaded, None) == 0
    assert library.tokenize(loaded, text, ids, 64, count, None) == 0


def test_options_out_of_range(library, tiny_fp32_bundle_dir):
    for arguments, status, message in (
        ({"threads": 0}, 2, "threads: found 0, expected 1 to 256."),
        ({"threads": 257}, 2, "threads: found 257, expected 1 to 256."),
        ({"threshold": 1.5}, 3, "threshold: found 1.5, expected a probability from 0 to 1."),
        ({"threshold": float("nan")}, 3, "threshold: found nan, expected a probability from 0 to 1."),
    ):
        with pytest.raises(CallError) as caught:
            library.load(tiny_fp32_bundle_dir, **arguments)
        assert (caught.value.status, str(caught.value)) == (status, message)


def test_a_buffer_that_is_too_small_for_the_ids(library, tiny_fp32_bundle_dir):
    loaded = library.load(tiny_fp32_bundle_dir)
    ids, count = (ctypes.c_int64 * 64)(), ctypes.c_size_t(7)
    status = library.tokenize(loaded.handle, Text.of(b"a"), ids, 63, count, None)
    assert error_of(library, status) == (2, "capacity: found 63, expected at least 64.")
    assert count.value == 7


def test_a_missing_onnxruntime(library, tiny_fp32_bundle_dir, tmp_path):
    with pytest.raises(CallError) as caught:
        library.load(tiny_fp32_bundle_dir, onnxruntime=tmp_path / "lib.so")
    assert (caught.value.status, str(caught.value)) == (
        2,
        f"onnxruntime: cannot open {tmp_path}/lib.so, expected its shared library. Install onnxruntime, or set "
        "CROSSTUNE_ONNXRUNTIME to the file (the Python wheel has it in onnxruntime/capi).",
    )


def test_a_library_that_is_not_onnxruntime(library, tiny_fp32_bundle_dir):
    other = built("libcrosstune.so")
    with pytest.raises(CallError) as caught:
        library.load(tiny_fp32_bundle_dir, onnxruntime=other)
    assert (caught.value.status, str(caught.value)) == (
        2,
        f"{other}: no OrtGetApiBase in it, expected an onnxruntime library. Name another one.",
    )


@pytest.mark.fault("K1", "K3")
def test_threads_share_a_classifier_and_load_their_own(library, tiny_bundle_dir, tiny_other_texts):
    shared = library.load(tiny_bundle_dir)
    expected = {text: shared.classify(text.encode()) for text in tiny_other_texts}
    wrong = []

    def work():
        own = library.load(tiny_bundle_dir)
        for _ in range(20):
            for text, answer in expected.items():
                for classifier in (shared, own):
                    if (
                        found := classifier.classify(text.encode())
                    ).probs != answer.probs or found.label != answer.label:
                        wrong.append(text)
        if library.classify(None, None, None, None) != 2:
            wrong.append("status")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_errors_are_per_thread(library):
    library.options_set_threads(None, 1)
    messages = []
    thread = threading.Thread(target=lambda: messages.append(library.error()))
    thread.start()
    thread.join()
    assert messages == [b""]
    assert library.error() == b"options: found NULL, expected a pointer."


def test_a_long_error_is_truncated_at_a_code_point(library):
    for path in ("/" + "é" * 1500, "/x" + "é" * 1500):
        with pytest.raises(CallError) as caught:
            library.load(path)
        assert 2045 <= len(str(caught.value).encode()) <= 2047
        assert path.startswith(str(caught.value))


FORKED = """
import os, sys
from tests.fixtures.c_library import CallError, Library
library = Library(sys.argv[1])
loaded = library.load(sys.argv[2], threads=4, onnxruntime=sys.argv[3])
loaded.classify(b"hello")
child = os.fork()
if child == 0:
    try:
        loaded.classify(b"hello")
    except CallError as error:
        print(error.status, error, flush=True)
    del loaded  # must not touch the parent's session
    print(library.load(sys.argv[2], onnxruntime=sys.argv[3]).classify(b"where is my parcel").label, flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.fault("K2")
def test_a_classifier_does_not_survive_fork(tiny_fp32_bundle_dir):
    runtime = wheel_library()
    done = subprocess.run(
        [sys.executable, "-c", FORKED, built("libcrosstune.so"), tiny_fp32_bundle_dir, runtime],
        cwd=REPO_ROOT, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.stderr.decode() == ""
    assert done.stdout.decode() == (
        f"2 {tiny_fp32_bundle_dir}: loaded in another process, expected in this one. Create the classifier after fork().\n"
        "shipping\n0\n"
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The library as ``cmake --install`` installs it."""
    built("libcrosstune.so")
    prefix = tmp_path_factory.mktemp("prefix")
    subprocess.run([CMAKE, "--install", BUILD / "release", "--prefix", prefix], capture_output=True, check=True)
    return prefix


@pytest.mark.slow
def test_the_example_builds_with_find_package(installed, tiny_fp32_bundle_dir, tmp_path):
    """The example needs only the installed library, shared or static, and gives the answers of Python."""
    configure = [CMAKE, "-S", REPO_ROOT / "runtime_cpp" / "example", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={installed}"]
    subprocess.run(configure, capture_output=True, check=True)
    subprocess.run([CMAKE, "--build", tmp_path], capture_output=True, check=True)
    for name in ("classify", "classify-static"):
        done = subprocess.run(
            [tmp_path / name, tiny_fp32_bundle_dir], input=b"where is my parcel\nthanks, great work\n",
            capture_output=True, check=False, timeout=300, env=os.environ | {"CROSSTUNE_ONNXRUNTIME": wheel_library()},
        )  # fmt: skip
        answers = Classifier.load(tiny_fp32_bundle_dir).classify(["where is my parcel", "thanks, great work"])
        assert done.stdout.decode() == "".join(f"{answer.label}\t{answer.prob:.4f}\n" for answer in answers)
        assert (done.returncode, done.stderr) == (0, b"")


PROGRAM = """
#include <crosstune.hpp>

#include <cstdio>
#include <locale>

struct Points : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\\3"; }
};

int main(int, char** argv) {
  std::locale::global(std::locale(std::locale(), new Points));
  try {
    const crosstune::Classifier classifier(argv[1]);
    std::puts(classifier.classify("where is my parcel").label.value_or("none").c_str());
  } catch (const crosstune::Error& error) {
    std::puts(error.what());
  }
}
"""


@pytest.mark.slow
def test_in_a_program_with_another_number_format(installed, tiny_fp32_bundle_dir, tmp_path):
    """The locale of the program, in which "1.20" is another number, does not affect versions and thresholds."""
    (tmp_path / "program.cpp").write_text(PROGRAM)
    libraries = [path.parent for path in installed.rglob("libcrosstune.so")]
    subprocess.run(
        ["c++", "-std=c++17", f"-I{installed}/include", tmp_path / "program.cpp", f"-L{libraries[0]}", "-lcrosstune",
         f"-Wl,-rpath,{libraries[0]}", "-o", tmp_path / "program"], check=True,
    )  # fmt: skip

    def output(bundle) -> str:
        environment = os.environ | {"CROSSTUNE_ONNXRUNTIME": wheel_library()}
        return subprocess.run(
            [tmp_path / "program", bundle], capture_output=True, check=True, text=True, env=environment
        ).stdout

    assert output(edited(tiny_fp32_bundle_dir, tmp_path / "a", put("decision", "threshold", 0.25))) == "shipping\n"
    newer = edited(tiny_fp32_bundle_dir, tmp_path / "b", put("graph", "min_onnxruntime", "1.999.1"))
    assert output(newer).startswith(f"{newer}: needs onnxruntime >= 1.999.1 (opset 18), found 1.")


@pytest.mark.slow
def test_the_header_is_c99(installed, tmp_path):
    source = tmp_path / "version.c"
    source.write_text(
        "#include <crosstune.h>\n#include <stdio.h>\nint main(void) { return puts(crosstune_version()) < 0; }\n"
    )
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{installed}/include", source]
    libraries = [path.parent for path in installed.rglob("libcrosstune.so")]
    subprocess.run(
        [*command, f"-L{libraries[0]}", "-lcrosstune", f"-Wl,-rpath,{libraries[0]}", "-o", tmp_path / "v"], check=True
    )
    done = subprocess.run([tmp_path / "v"], capture_output=True, check=True)
    assert done.stdout.decode() == f"{__version__}\n"


def test_only_the_c_abi_is_exported():
    """No internal symbol, and none of the JSON parser, can clash with those of another library."""
    done = subprocess.run(
        ["nm", "-DC", "--defined-only", built("libcrosstune.so")], capture_output=True, check=True, text=True
    )
    names = [line.split(maxsplit=2)[2] for line in done.stdout.splitlines()]
    exported = {name for name in names if name.startswith("crosstune_")}
    header = (REPO_ROOT / "runtime_cpp" / "include" / "crosstune.h").read_text("utf-8")
    assert exported == {name for name in exported if f"{name}(" in header}
    assert len(exported) == header.count("CROSSTUNE_API ") - header.count("#define CROSSTUNE_API ")
    assert [name for name in names if "crosstune::" in name or "nlohmann" in name] == []
