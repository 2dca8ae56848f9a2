#!/bin/sh
# Resolves pyproject.toml into requirements/{run,test}.txt: exact versions with the hashes of every
# file of each, for Linux and Python 3.11 and newer, without the name of any index.
# Arguments go to the resolver: `tools/lock.sh --upgrade`, `tools/lock.sh --upgrade-package rich`.
set -eu

cd -- "$(dirname -- "$0")/.."
tools/setup.sh test
[ -d .lock-venv ] || .venv/bin/python -m venv .lock-venv
.lock-venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8,<1'

resolve() {
    output=$1
    shift
    .lock-venv/bin/uv pip compile pyproject.toml --group build --quiet --universal \
        --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --output-file "$output" "$@" >/dev/null
}

resolve requirements/run.txt "$@"
resolve requirements/test.txt --extra test --constraints requirements/run.txt "$@"
git --no-pager diff --stat -- requirements
