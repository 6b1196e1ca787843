#!/usr/bin/env bash
# Brings a Chromium for the tests of the page, without root and without changing the machine, where there is none:
#   get_browser.sh FOLDER
# Where CHROMIUM names a browser, or chromium or google-chrome is on the PATH, nothing is done. Else Debian's chromium and those
# of its libraries that this machine lacks are unpacked into FOLDER, and FOLDER/chromium runs it.
set -euo pipefail

[ -n "${CHROMIUM:-}" ] && exit 0
command -v chromium >/dev/null || command -v google-chrome >/dev/null && exit 0
folder=$(mkdir -p "$1" && cd "$1" && pwd)
[ -x "$folder/chromium" ] && exit 0

fail() { echo "error: $*" >&2; exit 2; }
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
  fail "chromium: not found, expected for the tests of the page. Install Chromium or Chrome, or name one in CHROMIUM."

# A private apt: own lists and cache, this machine's sources, and what is installed here as the start.
apt() {
  apt-get -qq -o Dir::State::lists="$folder/apt/lists" -o Dir::Cache="$folder/apt/cache" -o APT::Sandbox::User="$(id -un)" \
    -o Debug::NoLocking=1 -o Acquire::Retries=3 "$@"
}
mkdir -p "$folder"/apt/{lists/partial,cache/archives/partial}
apt update >&2 || fail "apt-get update: failed, expected this machine's package sources to answer. Try again."
apt install --download-only --no-install-recommends --yes chromium fonts-liberation >&2 ||
  fail "chromium: not in this machine's package sources, expected there. Install Chromium or Chrome, or name one in CHROMIUM."
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
"$folder/chromium.part" --version >&2 || fail "$folder/chromium: does not start, expected a browser. Install Chromium or Chrome, or name one in CHROMIUM."
mv "$folder/chromium.part" "$folder/chromium"
