#!/bin/sh
# Follows docs/replacing-the-domain.md: runs every block of shell in it, one after the other, in a copy of this
# workspace, which becomes a service of orders, is built and tested there; and counts the files that were touched.
# What it builds stays in the target directory, in a folder of its own, so that the next run has less to do.
set -eu
cd "$(dirname "$0")/../.."
page=$PWD/docs/replacing-the-domain.md
target=${CARGO_TARGET_DIR:-$PWD/target}
ours=$target/replace-domain
copy=$ours/workspace

# What is built of dependencies is the same here and there; names of what is built of this workspace differ by path.
export CARGO_TARGET_DIR="$ours/target"
if [ ! -e "$CARGO_TARGET_DIR/fast" ] && [ -e "$target/fast/deps" ]; then
    mkdir -p "$CARGO_TARGET_DIR/fast"
    cp -al "$target/fast/.fingerprint" "$target/fast/build" "$target/fast/deps" "$CARGO_TARGET_DIR/fast/"
fi

rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -cf - -T - | tar -xf - -C "$copy"
cd "$copy"
git init -q
git add -A
before=$(git write-tree)

awk '/^```sh$/ { block = 1; print "echo \"--- line " FNR + 1 "\""; next } /^```$/ { block = 0 } block' "$page" >"$ours/steps"
sh -eux "$ours/steps"

git add -A
# A file that was renamed counts once, under its new name.
git diff --cached --name-only --no-renames --diff-filter=AM "$before" >"$ours/touched"
if git diff --cached --name-only --no-renames "$before" -- shared/kernel shared/adapters ingest-fn | grep .; then
    echo "nothing in shared/kernel, shared/adapters and ingest-fn may know the domain, but these files had to change" >&2
    exit 1
fi
crate=$(grep -c '^shared/orders/' "$ours/touched")
documents=$(grep -c '\.md$' "$ours/touched")
code=$(($(wc -l <"$ours/touched") - crate - documents))
grep -v '^shared/orders/' "$ours/touched"
count="$code files of code and $documents documents, besides the domain's crate"
echo "touched $count ($crate files), of $(git ls-tree -r --name-only "$before" | wc -l)"
if ! grep -qF "**$count**" "$page"; then
    echo "docs/replacing-the-domain.md does not say so: write **$count** there" >&2
    exit 1
fi
