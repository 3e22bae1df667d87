#!/bin/sh
# Autobahn's WebSocket cases, straight to a server and through the gateway: the verdict of each must be the same.
#
#   loadtest/autobahn.sh GATEWAY [FOLDER]
#
# GATEWAY is the program (target/release/gateway); FOLDER (default: a temporary one, removed) keeps the reports. Needs
# Python 3.10 or later with venv, and PyPI for kosoku (Autobahn's cases) and websockets (the server). The sets 9 (large
# messages), 12 and 13 (compression of many messages) are left out: they take an hour and say nothing of a gateway.
set -eu

gateway=$(realpath "$1")
if [ $# -gt 1 ]; then
    mkdir -p "$2"
    folder=$(realpath "$2")
else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
echo "reports in $folder"

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check kosoku==0.1.0 websockets==17.4

cd "$folder"
cat > echo.py <<'PYTHON'
import asyncio
from websockets.asyncio.server import serve

async def echo(websocket):
    async for message in websocket:
        await websocket.send(message)

async def main():
    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
PYTHON

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

"$folder/venv/bin/python" echo.py > echo.port 2> echo.log &
echo_pid=$!
trap 'kill $echo_pid ${gateway_pid:-} 2>/dev/null; [ $# -gt 1 ] || rm -rf "$folder"' EXIT
until [ -s echo.port ]; do sleep 0.1; done
cat > config.toml <<TOML
[[listeners]]
address = "127.0.0.1:0"
[upstreams.echo]
servers = ["127.0.0.1:$(cat echo.port)"]
[[routes]]
path = "/{*rest}"
upstream = "echo"
TOML
"$gateway" run --config config.toml 2> gateway.log &
gateway_pid=$!
until grep -q '^listening on ' gateway.log; do sleep 0.1; done
address=$(sed -n 's/^listening on //p' gateway.log | head -1)

# A verdict that is not "OK" ends kosoku with an error; what counts here is whether both say the same.
run() {
    "$folder/venv/bin/kosoku" -m fuzzingclient -x '9.*' -x '12.*' -x '13.*' -o "$1" "$2" > "$1.log" 2>&1 || true
}
run direct "127.0.0.1:$(cat echo.port)"
run through "$address"
"$folder/venv/bin/python" compare.py
