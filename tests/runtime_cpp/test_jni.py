"""The Java wrapper of libcrosstune compiles, and the Android example uses what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from crosstune_export.bundle.manifest import SIZE_LIMITS
from tests.conftest import REPO_ROOT

JNI = REPO_ROOT / "runtime_cpp" / "jni"
ANDROID = REPO_ROOT / "examples" / "android"


def test_the_wrapper_has_the_methods_that_java_declares(tmp_path):
    """The header that javac makes of the class declares the functions that the C++ file defines."""
    compiler = shutil.which("javac")
    if compiler is None:
        pytest.skip("javac: not found, expected a JDK")
    include = Path(compiler).resolve().parent.parent / "include"
    run(compiler, "-encoding", "UTF-8", "-h", tmp_path, "-d", tmp_path, JNI / "org" / "crosstune" / "Classifier.java")
    header = tmp_path / "org_crosstune_Classifier.h"
    platform = next(folder for folder in include.iterdir() if folder.is_dir())
    run("c++", "-std=c++17", "-fPIC", "-Wall", "-Wextra", "-Werror", "-c", "-include", header, "-I", include, "-I", platform,
        "-I", REPO_ROOT / "runtime_cpp" / "include", JNI / "crosstune_jni.cpp", "-o", tmp_path / "jni.o")  # fmt: skip
    declared = set(re.findall(r"Java_org_crosstune_\w+", header.read_text("utf-8")))
    defined = set(re.findall(r" T (Java_\w+)", run("nm", tmp_path / "jni.o")))
    assert declared == defined and len(defined) == 3


def run(*command: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_the_android_example_uses_what_exists():
    main = ANDROID / "app" / "src" / "main"
    cmake = (REPO_ROOT / "runtime_cpp" / "CMakeLists.txt").read_text("utf-8")
    gradle = (ANDROID / "app" / "build.gradle.kts").read_text("utf-8")
    own = (main / "cpp" / "CMakeLists.txt").read_text("utf-8")
    folder = re.search(r"add_subdirectory\((\S+)", own)[1]
    assert (main / "cpp" / folder).resolve() == REPO_ROOT / "runtime_cpp"
    options = set(re.findall(r"-D(\w+)=", gradle)) | set(re.findall(r"set\((\w+)", own))
    standard = {"ANDROID_STL", "OPENSSL_ROOT_DIR", "OPENSSL_USE_STATIC_LIBS"}
    assert [name for name in options - standard if not re.search(rf"\b{name}\b", cmake)] == []
    assert re.search(r"add_library\(crosstune_jni SHARED", cmake) and 'targets += "crosstune_jni"' in gradle
    assert 'System.loadLibrary("crosstune_jni")' in (JNI / "org/crosstune/Classifier.java").read_text("utf-8")
    for path in re.findall(r'repository\.resolve\("([\w/]+)"\)', gradle):
        assert (REPO_ROOT / path).exists(), path
    settings = (ANDROID / "gradle.properties").read_text("utf-8")
    assert set(re.findall(r'setting\("([\w.]+)"\)', gradle)) == set(re.findall(r"^([\w.]+)=", settings, re.MULTILINE))
    manifest = (main / "AndroidManifest.xml").read_text("utf-8")
    assert "uses-permission" not in manifest
    kotlin = {path.stem: path.read_text("utf-8") for path in main.rglob("*.kt")}
    for name in re.findall(r'android:name="\.(\w+)"', manifest):
        assert f"class {name}" in kotlin[name]
    files = re.search(r"FILES = listOf\((.+)\)", kotlin["Bundles"])[1]
    assert set(re.findall(r'"(.+?)"', files)) == set(SIZE_LIMITS)
