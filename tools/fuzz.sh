#!/bin/sh
# Fuzzes every parser that meets input. Usage: tools/fuzz.sh [seconds per target [target…]]
set -eu
cd "$(dirname "$0")/.."

seconds=${1:-60}
[ $# -eq 0 ] || shift
PATH=$PWD/.tools/bin:$PATH

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz: the nightly toolchain is missing: run rustup toolchain install nightly --profile minimal" >&2
    exit 1
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: cargo-fuzz is missing: run tools/setup.sh fuzz" >&2
    exit 1
fi

# shellcheck disable=SC2046  # one word each
[ $# -gt 0 ] || set -- $(cargo fuzz list)
cargo +nightly fuzz build
for target in "$@"; do
    # The corpus grows and is not committed; seeds are few and are.
    mkdir -p "fuzz/corpus/$target"
    cp "fuzz/seeds/$target/"* "fuzz/corpus/$target/"
    echo "fuzz: $target for $seconds s"
    log=fuzz/corpus/$target.log
    # The front door takes no longer body.
    if ! cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -max_len=65536 -print_final_stats=1 \
        > "$log" 2>&1; then
        grep -A 2 'panicked at' "$log" >&2 || tail -n 20 "$log" >&2
        input=$(sed -n "s|.*Test unit written to $PWD/||p" "$log" | tail -n 1)
        echo "fuzz: $target failed. To repeat it:  PATH=.tools/bin:\$PATH cargo +nightly fuzz run $target ${input:-<input>}" >&2
        echo "fuzz: after the fix, keep the input for make test:  cp ${input:-<input>} fuzz/seeds/$target/" >&2
        exit 1
    fi
    sed -n 's/^stat::\(number_of_executed_units\|average_exec_per_sec\): */    \1 /p' "$log"
done
