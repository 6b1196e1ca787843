#!/usr/bin/env bash
# Builds crosstune-classify for 64-bit ARM and runs it under qemu. Checks the bundle's self-test, and that the token ids of every
# code point are those of the native build.
#   make cpp && runtime_cpp/tools/check_aarch64.sh BUNDLE
# Needs g++-aarch64-linux-gnu, qemu-user-static (or qemu-user), and a Python with pip, which PYTHON may name. Uses onnxruntime
# 1.23.2, because newer releases crash under qemu.
set -euo pipefail

bundle=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
build=$PWD/build/cpp/aarch64
python=${PYTHON:-.venv/bin/python}
version=1.23.2
qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64) ||
  { echo "error: qemu-aarch64: not found, expected on the PATH. Run: apt-get install qemu-user-static" >&2; exit 2; }
command -v aarch64-linux-gnu-g++ >/dev/null ||
  { echo "error: aarch64-linux-gnu-g++: not found, expected on the PATH. Run: apt-get install g++-aarch64-linux-gnu" >&2; exit 2; }

runtime_cpp/tools/get_packages.sh "$build/packages" arm64
"$(dirname "$python")/cmake" -S runtime_cpp -B "$build/release" -DPACKAGES="$build/packages" \
  -DCMAKE_TOOLCHAIN_FILE="$PWD/runtime_cpp/cmake/aarch64-linux-gnu.cmake" \
  -DCROSSTUNE_CHARACTER_TABLES="$PWD/build/cpp/release/character_tables.inc" >"$build/configure.log"
"$(dirname "$python")/cmake" --build "$build/release" --target crosstune-classify --parallel 2 -- --no-print-directory

library=$build/libonnxruntime.so.$version
if [ ! -e "$library" ]; then
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --python-version 3.11 \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --dest "$build" "onnxruntime==$version"
  "$python" -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))' \
    "$build"/onnxruntime-$version-*.whl "onnxruntime/capi/libonnxruntime.so.$version" >"$library.part"
  mv "$library.part" "$library"
fi

native=build/cpp/release/crosstune-classify
emulated=("$qemu" -L /usr/aarch64-linux-gnu -E "LD_LIBRARY_PATH=$build/packages/usr/lib/aarch64-linux-gnu"
  "$build/release/crosstune-classify" --onnxruntime "$library")
file -b "$build/release/crosstune-classify" 2>/dev/null || true
"${emulated[@]}" --selftest "$bundle"

"$python" - >"$build/texts.jsonl" <<'PYTHON'
import json

points = [*range(0xD800), *range(0xE000, 0x110000)]
for start in range(0, len(points), 40):
    print(json.dumps({"text": " ".join(f"a{chr(code)}b {chr(code)}" for code in points[start : start + 40])}))
PYTHON
"$native" --ids "$bundle" "$build/texts.jsonl" >"$build/native.jsonl"
"${emulated[@]}" --ids "$bundle" "$build/texts.jsonl" >"$build/emulated.jsonl"
cmp "$build/native.jsonl" "$build/emulated.jsonl"
echo "ids: $(wc -l <"$build/native.jsonl") texts with every code point, identical to those on $(uname -m)"
