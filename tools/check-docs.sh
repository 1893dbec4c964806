#!/bin/sh
# Fails where a document names a file of this repository that does not exist: every `path/with.ending` or `folder/` in
# backquotes, and every relative link.
set -eu
cd "$(dirname "$0")/.."
missing=0
for document in README.md CHANGELOG.md docs/*.md docs/*/*.md; do
    [ -e "$document" ] || continue
    quoted=$(grep -oE '`[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+/?`' "$document" | tr -d '`' |
        grep -E '(\.(rs|toml|json|md|sh|ts)|/)$' || true)
    linked=$(grep -oE '\]\([^)#:]+' "$document" | sed 's/^](//' | grep -vxE 'https?' || true)
    for path in $quoted; do
        if [ ! -e "$path" ]; then echo "$document names $path, which does not exist" >&2; missing=1; fi
    done
    for path in $linked; do
        if [ ! -e "$(dirname "$document")/$path" ]; then
            echo "$document links to $path, which does not exist" >&2
            missing=1
        fi
    done
done
exit "$missing"
