#!/bin/sh
# Runs a command with ministack, a second implementation of DynamoDB and SQS, at WATERSHED_MINISTACK_URL; without it
# where it is not installed, and says so. Ends it afterwards.
set -eu
cd "$(dirname "$0")/.."

if [ ! -x .venv/bin/ministack ]; then
    echo "ministack is not installed, so the tests with it are skipped: run tools/setup.sh python"
    exec "$@"
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
log=$(mktemp)
BIND_HOST=127.0.0.1 GATEWAY_PORT=$port .venv/bin/ministack >"$log" 2>&1 </dev/null &
pid=$!
stop() {
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    rm -f "$log"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
ready() {
    python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$port/_ministack/health', timeout=1)" 2>/dev/null
}
tries=0
until ready; do
    tries=$((tries + 1))
    if [ "$tries" -gt 60 ] || ! kill -0 "$pid" 2>/dev/null; then
        echo "ministack did not start. Its output:" >&2
        cat "$log" >&2
        exit 1
    fi
    sleep 0.5
done
WATERSHED_MINISTACK_URL="http://127.0.0.1:$port" "$@"
