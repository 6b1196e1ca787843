#!/usr/bin/env bash
# Unpacks the headers and libraries for compiling libcrosstune into a folder. Needs no root and installs nothing:
#   get_packages.sh FOLDER [ARCHITECTURE]
# - the C header of onnxruntime 1.21, from libonnxruntime-dev in Debian trixie, pinned by its SHA-256 (the library itself is
#   opened at run time);
# - nlohmann-json3-dev and libssl-dev from this machine's release, if the compiler does not find them; always for another
#   ARCHITECTURE, by its Debian name (arm64).
# Needs apt-get and dpkg-deb (Debian, Ubuntu). On other systems install the three by hand and call CMake directly.
set -euo pipefail

folder=$(mkdir -p "$1" && cd "$1" && pwd)
architecture=${2:-}
header_sha256=14f7d959d5deacbcf1504830d4189f91fc67382b399ed9ae9d3aa9c4050ced08

[ -e "$folder/.complete" ] && exit 0

fail() { echo "error: $*" >&2; exit 2; }

has_header() { [ -z "$architecture" ] && echo "#include <$1>" | ${CXX:-c++} -x c++ -E - >"$folder/preprocessed" 2>&1; }

# apt with lists, cache and sources inside the folder.
apt() {
  apt-get -qq -o Dir::State::lists="$folder/apt/lists" -o Dir::Cache="$folder/apt/cache" \
    -o Dir::Etc::sourcelist="$folder/apt/sources.list" -o Dir::Etc::sourceparts="$folder/apt/sources.d" \
    -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 ${architecture:+-o APT::Architectures::=$architecture} "$@"
}

unpack() { # NAME[:ARCHITECTURE][/RELEASE]
  rm -rf "$folder/download" && mkdir "$folder/download"
  (cd "$folder/download" && apt download "$1") || fail "$1: not found in the package sources of this machine. Install it by hand; see docs/cpp.md."
}

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
  fail "apt-get: not found, expected Debian or Ubuntu. Install the libraries by hand; see docs/cpp.md."

packages=()
has_header nlohmann/json.hpp || packages+=("nlohmann-json3-dev")
has_header openssl/evp.h || packages+=("libssl-dev${architecture:+:$architecture}")

release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ -n "$release" ] || fail "/etc/os-release: no VERSION_CODENAME, expected the name of a release. See docs/cpp.md."
mkdir -p "$folder"/apt/{lists/partial,cache/archives/partial,sources.d}
: >"$folder/apt/sources.list"
for source in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  grep -qsw "$release" "$source" || continue
  name=$(basename "$source")
  cp "$source" "$folder/apt/sources.d/own-$name"
  [ "$release" = trixie ] || sed "s/\b$release\b/trixie/g" "$source" >"$folder/apt/sources.d/trixie-$name"
done
apt update >&2 || fail "apt-get update: failed, expected the package sources to answer. Try again."

unpack libonnxruntime-dev/trixie
echo "$header_sha256  $(echo "$folder"/download/libonnxruntime-dev_*.deb)" | sha256sum --check --quiet >&2 ||
  fail "libonnxruntime-dev: wrong sha256, expected $header_sha256. Do not use it; see docs/cpp.md."
dpkg-deb --extract "$folder"/download/*.deb "$folder"
for package in "${packages[@]}"; do
  unpack "$package/$release"
  dpkg-deb --extract "$folder"/download/*.deb "$folder"
done

# libssl-dev contains a link to the library, which is in another package.
for link in "$folder"/usr/lib/*/libcrypto.so; do
  [ -L "$link" ] && [ ! -e "$link" ] || continue
  runtime=$(dpkg-deb --field "$folder"/download/libssl-dev_*.deb Depends | grep -o 'libssl3[a-z0-9]*' | head -1)
  unpack "$runtime${architecture:+:$architecture}/$release"
  dpkg-deb --extract "$folder"/download/*.deb "$folder"
done
rm -rf "$folder/download" "$folder/apt" "$folder/preprocessed"
touch "$folder/.complete"
