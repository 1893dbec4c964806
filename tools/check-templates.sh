#!/bin/sh
# Checks the templates of the seven stages with cfn-lint and checkov. What they find fault with and stays is explained in
# cdk/.cfnlintrc.yaml and cdk/.checkov.yaml.
set -eu
cd "$(dirname "$0")/../cdk"

node_modules/.bin/cdk synth --quiet --no-notices >/dev/null
if [ ! -x ../.venv-templates/bin/cfn-lint ] || [ ! -x ../.venv-templates/bin/checkov ]; then
    echo "cfn-lint or checkov is not installed, so the templates are not checked: run tools/setup.sh templates" >&2
    exit 0
fi
../.venv-templates/bin/cfn-lint --config-file .cfnlintrc.yaml
../.venv-templates/bin/checkov --config-file .checkov.yaml
