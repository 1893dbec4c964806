#!/bin/sh
# Installs what is missing and can be installed, by name.
# Usage: tools/setup.sh [redis] [chromium] [python] [deny] [fuzz] [node] [prose] [templates] [package]
set -eu
cd "$(dirname "$0")/.."

ministack_version=1.5.33
cryptography_version=50.0.2
typos_version=1.52.0
zizmor_version=1.32.0
cargo_deny_version=0.20.2
cargo_fuzz_version=0.13.2
cfn_lint_version=1.58.0
checkov_version=3.3.30
cargo_lambda_version=1.9.2
ziglang_version=0.15.2
node_version_min=20

# Installs Debian packages by name. Returns false if that is not possible here.
install_from_debian() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return 1; fi
    echo "setup: installing $* with apt-get"
    # The stack starts servers of its own: no package may start another one.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    if { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } \
        >/dev/null 2>&1
    then return; fi
    echo "setup: apt-get could not install $*" >&2
    return 1
}

install_redis() {
    if command -v redis-server >/dev/null || install_from_debian redis-server; then return; fi
    echo "setup: redis-server 7.0 or newer is missing: install it (Debian: apt-get install redis-server;" \
        "macOS: brew install redis). Without it, the service runs with memory caches only." >&2
}

install_chromium() {
    if command -v chromium >/dev/null || install_from_debian chromium; then return; fi
    echo "setup: chromium is missing: install it (Debian: apt-get install chromium)." \
        "Without it, the tests in a browser are skipped." >&2
}

# A group of tools from PyPI, in an environment of its own: what one group needs may contradict what another does. The
# first argument names the environment; the others are what it holds.
install_from_pypi() {
    venv=$1
    shift
    if [ "$(cat "$venv/installed" 2>/dev/null)" = "$*" ]; then return; fi
    echo "setup: installing $* from PyPI into $venv"
    if python3 -m venv "$venv" && "$venv/bin/pip" install --quiet "$@"; then
        echo "$*" > "$venv/installed"
    else
        echo "setup: cannot install $* into $venv, so they are not used: check that PyPI is reachable and python3-venv installed" >&2
    fi
}

node_is_new_enough() {
    command -v npm >/dev/null && [ "$(node --version | sed 's/^v//; s/[.].*//')" -ge "$node_version_min" ]
}

# The packages that a folder's package-lock.json names. The first argument is the folder; the second says what they are.
install_from_npm() {
    if ! node_is_new_enough && { ! install_from_debian nodejs npm || ! node_is_new_enough; }; then
        echo "setup: Node.js $node_version_min or newer, with npm, is missing: install it from https://nodejs.org" >&2
        exit 1
    fi
    if cmp -s "$1/package-lock.json" "$1/node_modules/.installed-lock"; then return; fi
    echo "setup: installing $2 from npm into $1/node_modules"
    if ! (cd "$1" && npm ci --silent); then
        echo "setup: cannot install $2 into $1/node_modules: check that npm reaches its registry" >&2
        exit 1
    fi
    cp "$1/package-lock.json" "$1/node_modules/.installed-lock"
}

# Without optimisation: compiling takes minutes less, and these tools run for seconds.
install_from_crates() {
    CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --debug --locked --root .tools "$1"
}

install_cargo_deny() {
    if .tools/bin/cargo-deny --version 2>/dev/null | grep -q "$cargo_deny_version"; then return; fi
    echo "setup: installing cargo-deny $cargo_deny_version from crates.io into .tools"
    install_from_crates "cargo-deny@$cargo_deny_version"
}

install_cargo_fuzz() {
    if .tools/bin/cargo-fuzz --version 2>/dev/null | grep -q "$cargo_fuzz_version"; then return; fi
    echo "setup: installing cargo-fuzz $cargo_fuzz_version from crates.io into .tools"
    install_from_crates "cargo-fuzz@$cargo_fuzz_version"
}

for part in "$@"; do
    case "$part" in
        redis) install_redis ;;
        chromium) install_chromium ;;
        # ministack verifies tokens where there is cryptography.
        python) install_from_pypi .venv "ministack==$ministack_version" "cryptography==$cryptography_version" \
            "typos==$typos_version" "zizmor==$zizmor_version" ;;
        templates) install_from_pypi .venv-templates "cfn-lint==$cfn_lint_version" "checkov==$checkov_version" ;;
        package) install_from_pypi .venv-package "cargo-lambda==$cargo_lambda_version" "ziglang==$ziglang_version" ;;
        node) install_from_npm cdk "the CDK" ;;
        prose) install_from_npm tools/prose textlint ;;
        deny) install_cargo_deny ;;
        fuzz) install_cargo_fuzz ;;
        *) echo "setup: unknown part $part: choose redis, chromium, python, deny, fuzz, node, prose, templates or package" >&2; exit 2 ;;
    esac
done
