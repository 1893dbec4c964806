#!/bin/sh
# Runs the CDK on what the environment names: the row STAGE, the row FROM if another one is left, and the file CONFIG. Checks
# them first. Values reach the CDK as single arguments, so that nothing in them is ever a command.
# Usage: tools/cdk.sh check|synth|deploy|destroy [argument of the CDK…]
set -eu
cd "$(dirname "$0")/.."

refuse() {
    echo "$*" >&2
    exit 2
}

# A value on one line, as a terminal can show it.
shown() {
    printf '%s' "$1" | LC_ALL=C tr -c '[:print:]' '?'
}

# The names of all rows. tests/e2e/makefile.rs compares them with the table.
rows() {
    sed -n 's/^ *"stage": "\([a-z-]*\)",$/\1/p' shared/stages.json
}

check_row() {
    for row in $(rows); do
        if [ "$2" = "$row" ]; then return; fi
    done
    refuse "$1 is no row of shared/stages.json: $(shown "$2"). Choose one of $(rows | paste -s -d , - | sed 's/,/, /g')"
}

check_rows() {
    if [ -z "${STAGE:-}" ]; then
        refuse "say what to deploy, and how: make deploy STAGE=cqrs CONFIG=my.json, a file such as cdk/config.example.json"
    fi
    check_row STAGE "$STAGE"
    if [ -n "${FROM:-}" ]; then check_row FROM "$FROM"; fi
}

check_config() {
    if [ -z "${CONFIG:-}" ]; then
        refuse "say how it is set up: make $command … CONFIG=my.json, a file such as cdk/config.example.json"
    fi
    if [ ! -f "$CONFIG" ]; then refuse "CONFIG is no file: $(shown "$CONFIG")"; fi
    case "$CONFIG" in
        /*) ;;
        *) CONFIG=$PWD/$CONFIG ;;
    esac
}

cdk() {
    tools/setup.sh node
    cd cdk
    exec node_modules/.bin/cdk "$@"
}

command=${1:-}
[ "$#" = 0 ] || shift
case "$command" in
    check) check_rows ;;
    synth)
        if [ -n "${CONFIG:-}" ]; then check_config; fi
        # Writes shared/service.json, and stops, if it is behind the list of resources.
        cargo test --quiet --profile fast -p service --test description
        cdk synth --quiet ${CONFIG:+-c "config=$CONFIG"} "$@"
        ;;
    deploy)
        check_rows
        check_config
        cdk deploy --output cdk.deployed -c deploying=true -c "stage=$STAGE" ${FROM:+-c "from=$FROM"} \
            -c "config=$CONFIG" "$@"
        ;;
    destroy)
        check_config
        cdk destroy --output cdk.deployed -c deploying=true -c "config=$CONFIG" Watershed-cqrs "$@"
        ;;
    *) refuse "usage: tools/cdk.sh check|synth|deploy|destroy [argument of the CDK…]" ;;
esac
