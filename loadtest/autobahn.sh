#!/bin/sh
# Autobahn's WebSocket cases, straight to a server and through the gateway: the verdict of each must be the same.
#
#   loadtest/autobahn.sh PROGRAMS [FOLDER]
#
# PROGRAMS is where gateway and loadtest were built (target/release): loadtest's origin is the server. FOLDER (default: a
# temporary one, removed) keeps the reports. Needs Python 3.10 or later with venv, and kosoku (Autobahn's cases) from
# PyPI. The sets 9 (large messages), 12 and 13 (compression of many messages) are left out: they take an hour and say
# nothing of a gateway.
set -eu

programs=$(realpath "$1")
if [ $# -gt 1 ]; then
    mkdir -p "$2"
    folder=$(realpath "$2")
else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
echo "reports in $folder"

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check kosoku==0.1.0

cd "$folder"
cat > compare.py <<'PYTHON'
import collections
import json
import pathlib
import sys

def verdicts(folder):
    found = {}
    for file in pathlib.Path(folder).rglob("index.json"):
        for agent in json.loads(file.read_text()).values():
            for case, told in agent.items():
                found[case] = (told["behavior"], told["behaviorClose"])
    return found

direct, through = verdicts("direct"), verdicts("through")
for name, all in (("direct", direct), ("through", through)):
    counts = collections.Counter(behavior for behavior, _ in all.values())
    print(f"{name:8} {len(all)} cases: {dict(counts)}")
different = sorted(case for case in direct.keys() | through.keys() if direct.get(case) != through.get(case))
for case in different:
    print(f"{case}: direct {direct.get(case)}, through the gateway {through.get(case)}")
sys.exit(bool(different) or not direct)
PYTHON

"$programs/loadtest" origin > origin.log 2>&1 &
origin_pid=$!
trap 'kill $origin_pid ${gateway_pid:-} 2>/dev/null; [ $# -gt 1 ] || rm -rf "$folder"' EXIT
until grep -q 'origin listens on ' origin.log; do sleep 0.1; done
origin=$(sed -n 's/.*origin listens on //p' origin.log)
cat > config.toml <<TOML
[[listeners]]
address = "127.0.0.1:0"
[upstreams.echo]
servers = ["$origin"]
[[routes]]
path = "/{*rest}"
upstream = "echo"
TOML
"$programs/gateway" run --config config.toml 2> gateway.log &
gateway_pid=$!
until grep -q '^listening on ' gateway.log; do sleep 0.1; done
address=$(sed -n 's/^listening on //p' gateway.log | head -1)

# A verdict that is not "OK" ends kosoku with an error; what counts here is whether both say the same.
run() {
    "$folder/venv/bin/kosoku" -m fuzzingclient -x '9.*' -x '12.*' -x '13.*' -o "$1" "ws://$2/websocket" > "$1.log" 2>&1 || true
}
run direct "$origin"
run through "$address"
"$folder/venv/bin/python" compare.py
