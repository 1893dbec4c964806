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
printable() {
    printf '%s' "$1" | LC_ALL=C tr -c '[:print:]' '?'
}

# The names of all stages. tests/e2e/makefile.rs compares them with the table.
stage_names() {
    sed -n 's/^ *"stage": "\([a-z-]*\)",$/\1/p' shared/stages.json
}

check_stage() {
    for stage in $(stage_names); do
        if [ "$2" = "$stage" ]; then return; fi
    done
    refuse "$1 is not a stage of shared/stages.json: $(printable "$2"). Choose one of $(stage_names | paste -s -d , - | sed 's/,/, /g')"
}

check_stages() {
    if [ -z "${STAGE:-}" ]; then
        refuse "STAGE is missing: run make deploy STAGE=cqrs CONFIG=my.json, with a file such as cdk/config.example.json"
    fi
    check_stage STAGE "$STAGE"
    if [ -n "${FROM:-}" ]; then check_stage FROM "$FROM"; fi
}

check_config() {
    if [ -z "${CONFIG:-}" ]; then
        refuse "CONFIG is missing: run make $command … CONFIG=my.json, with a file such as cdk/config.example.json"
    fi
    if [ ! -f "$CONFIG" ]; then refuse "CONFIG is not a file: $(printable "$CONFIG")"; fi
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
    check) check_stages ;;
    synth)
        if [ -n "${CONFIG:-}" ]; then check_config; fi
        # Writes shared/service.json, and stops, if it is behind the list of resources.
        cargo test --quiet --profile fast -p service --test description
        cdk synth --quiet ${CONFIG:+-c "config=$CONFIG"} "$@"
        ;;
    deploy)
        check_stages
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
