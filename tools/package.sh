#!/bin/sh
# Builds every binary of the functions for Lambda, and the operators' tool, into target/lambda/<name>/bootstrap. Usage: tools/package.sh x86_64|arm64
set -eu
cd "$(dirname "$0")/.."

case "${1:-}" in
    x86_64) target=x86_64-unknown-linux-gnu ;;
    arm64) target=aarch64-unknown-linux-gnu ;;
    *) echo "ARCH must be x86_64 or arm64" >&2; exit 2 ;;
esac
if [ ! -d "$(rustc --print target-libdir --target "$target")" ]; then
    echo "Rust cannot build for $1 yet: run \`rustup target add $target\`" >&2
    exit 1
fi
tools/setup.sh package
if [ ! -x .venv-package/bin/cargo-lambda ]; then
    echo "cargo-lambda is missing: the message above says why" >&2
    exit 1
fi

# Writes shared/service.json, and stops, if it is behind the list of resources.
cargo test --quiet --profile fast -p service --test description
# Functions of several resources run the same binary, so each binary is packaged once.
binaries=$(python3 -c '
import json
print(*sorted({function["binary"] for function in json.load(open("shared/service.json"))["functions"]}))')
packages="$binaries watershed"
# A build that fails must not leave the functions of an earlier one.
rm -rf target/lambda
# The linker, zig, is found through the Python of this environment.
build() {
    PATH="$PWD/.venv-package/bin:$PATH" cargo lambda build --release --locked --target "$target" \
        --lambda-dir "$PWD/target/lambda" "$@"
}
build -p read-fn -p write-fn -p ingest-fn -p lith-fn
# Apart, because what is built together shares the features of its dependencies.
build -p ops

for package in $packages; do
    if [ ! -f "target/lambda/$package/bootstrap" ]; then
        echo "target/lambda/$package/bootstrap is missing: the build did not write it" >&2
        exit 1
    fi
done
echo "sizes of the zipped packages for $1:"
for package in $packages; do
    python3 - "$package" <<'PYTHON'
import io, sys, zipfile
archive = io.BytesIO()
with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
    packed.write(f"target/lambda/{sys.argv[1]}/bootstrap", "bootstrap")
print(f"{sys.argv[1]:16} {len(archive.getvalue()) / 1e6:5.1f} MB")
PYTHON
done
