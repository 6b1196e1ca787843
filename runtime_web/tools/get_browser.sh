#!/usr/bin/env bash
# Unpacks a Chromium for the tests of the page into a folder. Needs no root and installs nothing:
#   get_browser.sh FOLDER
# Does nothing if CHROMIUM names a browser, or if chromium or google-chrome is on the PATH. Otherwise unpacks Debian's chromium and
# the libraries that this machine lacks. FOLDER/chromium starts it.
set -euo pipefail

[ -n "${CHROMIUM:-}" ] && exit 0
command -v chromium >/dev/null || command -v google-chrome >/dev/null && exit 0
folder=$(mkdir -p "$1" && cd "$1" && pwd)
[ -x "$folder/chromium" ] && exit 0

fail() { echo "error: $*" >&2; exit 2; }
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
  fail "chromium: not found, expected for the tests of the page. Install Chromium or Chrome, or set CHROMIUM to its path."

# apt with lists and cache inside the folder; it knows which packages are installed.
apt() {
  apt-get -qq -o Dir::State::lists="$folder/apt/lists" -o Dir::Cache="$folder/apt/cache" -o APT::Sandbox::User="$(id -un)" \
    -o Debug::NoLocking=1 -o Acquire::Retries=3 "$@"
}
mkdir -p "$folder"/apt/{lists/partial,cache/archives/partial}
apt update >&2 || fail "apt-get update: failed, expected the package sources to answer. Try again."
apt install --download-only --no-install-recommends --yes chromium fonts-liberation >&2 ||
  fail "chromium: not found in the package sources of this machine. Install Chromium or Chrome, or set CHROMIUM to its path."
for package in "$folder"/apt/cache/archives/*.deb; do
  dpkg-deb --extract "$package" "$folder"
done
rm -rf "$folder/apt"

libraries=$(find "$folder" -name "*.so*" ! -path "*/chromium/*" -printf "%h\n" | sort -u | paste -sd :)
cat >"$folder/chromium.part" <<END
#!/bin/sh
export LD_LIBRARY_PATH="$libraries"
exec "$folder/usr/lib/chromium/chromium" "\$@"
END
chmod +x "$folder/chromium.part"
"$folder/chromium.part" --version >&2 || fail "$folder/chromium: does not start, expected a browser. Install Chromium or Chrome, or set CHROMIUM to its path."
mv "$folder/chromium.part" "$folder/chromium"
