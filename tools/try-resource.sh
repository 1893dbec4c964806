#!/usr/bin/env bash
# Follows docs/your-own-resource.md in a copy of this checkout: two resources are written and served, and the samples are
# removed. Then all that this repository tests holds for the new ones alone. Prints what adding a resource takes.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
document=$root/docs/your-own-resource.md
# Dependencies are compiled already.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
export GIT_AUTHOR_NAME=watershed GIT_AUTHOR_EMAIL=watershed@example.com
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
export PATH=$CARGO_TARGET_DIR/fast:$PATH
# How long building and starting the service may take.
serving_seconds_max=900

copy=$CARGO_TARGET_DIR/resource
service=
stop() {
    if [ -n "$service" ]; then
        kill -INT -- "-$service" 2>/dev/null || true
        wait "$service" 2>/dev/null || true
        service=
    fi
}
trap 'stop; rm -rf "$copy"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "try-resource: $*" >&2
    exit 1
}

# The block of shell after the n-th mark of the document.
block() {
    awk -v wanted="$1" '/^<!-- try -->$/ { n++ } n == wanted && on && /^```$/ { exit } on { print }
        n == wanted && /^```sh$/ { on = 1 }' "$document"
}

follow() {
    step=$(block "$1")
    [ -n "$step" ] || fail "docs/your-own-resource.md has no block $1 to run"
    echo "$step"
    bash -euc "$step"
}

# Says what a new resource takes. Fails if that is more than two files with a line each, or more lines than these in the crate.
measure() {
    files=$(git diff --name-only | wc -l)
    lines=$(find "shared/$1" -name '*.rs' -exec cat {} + | wc -l)
    echo "measured: /$1 takes $files lines in $files files outside its crate, and $lines lines in it"
    [ "$files" -le 2 ] || fail "more than 2 files were changed outside the crate"
    [ "$(git diff --numstat | awk '{ if ($1 > most) most = $1 } END { print most }')" -le 1 ] || fail "a file has more than 1 new line"
    [ "$lines" -le "$2" ] || fail "$1 has more than $2 lines"
}

save() {
    git add -A
    git commit -qm "$1"
}

rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy"
for installed in .venv .tools cdk/node_modules; do
    if [ -e "$installed" ]; then ln -s "$root/$installed" "$copy/$installed"; fi
done
for sample in users:100 orders:250; do
    lines=$(find "shared/${sample%:*}" -name '*.rs' -exec cat {} + | wc -l)
    echo "measured: ${sample%:*} has $lines lines"
    [ "$lines" -le "${sample#*:}" ] || fail "${sample%:*} has more than ${sample#*:} lines"
done

# An earlier run may have left the program of its copy there.
cargo build --quiet --profile fast -p ops -p unified-features --bin watershed
cd "$copy"
# Cargo tells packages apart by their paths in the workspace, and by their versions: without this it would take crates of the copy
# for those of this checkout.
sed -i -E 's/^version = "([0-9.]+)"$/version = "\1-copy"/' Cargo.toml
cargo update --workspace --offline --quiet
git init -q
save "The checkout"

started=$SECONDS
follow 1
measure rooms 100
documented=$(awk '/^```rust$/ { on = 1; next } /^```$/ { on = 0 } on && /struct Room/ { is = 1 } on { text = text $0 "\n" }
    !on { if (is) { printf "%s", text; exit } text = "" }' "$document")
code() { grep -vE '^ *//' | sed '/^$/d'; }
diff <(echo "$documented" | code) <(code <shared/rooms/src/lib.rs) || fail "docs/your-own-resource.md shows another struct than shared/rooms/src/lib.rs has"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
set -m
make run ARGS="--ephemeral --port $port" >service.log 2>&1 </dev/null &
service=$!
set +m
until curl -sf -o answer.txt "http://127.0.0.1:$port/health"; do
    if ! kill -0 "$service" 2>/dev/null || [ $((SECONDS - started)) -gt "$serving_seconds_max" ]; then
        tail -n 50 service.log >&2
        fail "the service did not start: its last output is above"
    fi
    sleep 0.2
done
request=$(block 2)
bash -euc "${request//127.0.0.1:3000/127.0.0.1:$port}" >answer.txt
grep -q '^HTTP/1.1 202' answer.txt || { cat answer.txt >&2; fail "the create request did not get 202: the response is above"; }
echo "measured: $((SECONDS - started)) s from \`watershed new\` to the first 202, compiling every crate of the copy"
stop
rm -f service.log answer.txt

save "Add rooms"
follow 3
measure bookings 250
# What is written by the first run of the tests.
cargo test --profile fast --no-fail-fast -p service -p rooms -p bookings -p unified-features >first.log 2>&1 &&
    fail "the first run of the tests succeeded, but it should write files and fail"
rm -f first.log
save "Add bookings"
# As `make lint`, for what is new: the checkout's own lint has seen the rest.
cargo fmt --all --check
cargo clippy --profile fast -p service -p rooms -p bookings -p unified-features --all-targets --locked -- -D warnings
if [ -x .venv/bin/typos ]; then .venv/bin/typos; fi
tools/check-docs.sh

follow 4
cargo test --profile fast -p service -p unified-features --test description >first.log 2>&1 &&
    fail "the test succeeded after the samples were removed, but it should change shared/service.json and fail"
rm -f first.log
save "Remove the samples"
cargo build --profile fast --workspace --bins --tests 2>&1 | tee build.log
if grep -q '^warning' build.log; then fail "the build without the samples has warnings"; fi
rm -f build.log
cargo test --profile fast --no-fail-fast --workspace --exclude tests
tools/with-ministack.sh cargo test --profile fast --no-fail-fast --workspace --test e2e -- contract:: smoke::
make soak ARGS="--count 2000"
make synth
grep -q '"RESOURCE": "rooms"' cdk/cdk.out/Watershed-single-responsibility.template.json || fail "the templates have no function for rooms"
git diff --exit-code
echo "try-resource: all tests passed with the new resources"
