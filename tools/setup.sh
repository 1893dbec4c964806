#!/bin/sh
# Installs what is missing and can be installed, by name. Usage: tools/setup.sh [redis] [python] [deny] [fuzz]
set -eu
cd "$(dirname "$0")/.."

ministack_version=1.5.33
typos_version=1.52.0
zizmor_version=1.32.0
cargo_deny_version=0.20.2
cargo_fuzz_version=0.13.2

install_redis() {
    if command -v redis-server >/dev/null; then return; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing redis-server with apt-get"
        # The stack starts a server of its own: the package must not start another one.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            printf '#!/bin/sh\nexit 101\n' > "$policy"
            chmod +x "$policy"
            trap 'rm -f "$policy"' EXIT
        fi
        if { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server; } >/dev/null 2>&1
        then return; fi
        echo "setup: apt-get could not install redis-server" >&2
    fi
    echo "setup: redis-server 7.0 or newer is missing: install it (Debian: apt-get install redis-server;" \
        "macOS: brew install redis). Without it the service runs on memory alone." >&2
}

install_python_tools() {
    want="ministack==$ministack_version typos==$typos_version zizmor==$zizmor_version"
    if [ "$(cat .venv/installed 2>/dev/null)" = "$want" ]; then return; fi
    echo "setup: installing $want from PyPI into .venv"
    # shellcheck disable=SC2086  # three arguments
    if python3 -m venv .venv && .venv/bin/pip install --quiet $want; then
        echo "$want" > .venv/installed
    else
        echo "setup: PyPI is out of reach, or python3-venv is missing: going on without ministack, typos and zizmor" >&2
    fi
}

install_cargo_deny() {
    if .tools/bin/cargo-deny --version 2>/dev/null | grep -q "$cargo_deny_version"; then return; fi
    echo "setup: installing cargo-deny $cargo_deny_version from crates.io into .tools"
    cargo install --quiet --locked --root .tools "cargo-deny@$cargo_deny_version"
}

install_cargo_fuzz() {
    if .tools/bin/cargo-fuzz --version 2>/dev/null | grep -q "$cargo_fuzz_version"; then return; fi
    echo "setup: installing cargo-fuzz $cargo_fuzz_version from crates.io into .tools"
    cargo install --quiet --locked --root .tools "cargo-fuzz@$cargo_fuzz_version"
}

for part in "$@"; do
    case "$part" in
        redis) install_redis ;;
        python) install_python_tools ;;
        deny) install_cargo_deny ;;
        fuzz) install_cargo_fuzz ;;
        *) echo "setup: $part is none of redis, python, deny, fuzz" >&2; exit 2 ;;
    esac
done
