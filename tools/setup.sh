#!/bin/sh
# Sets up the project's own virtual environment: tools/setup.sh run|test
#
# Finds a Python that is new enough and can make virtual environments, makes .venv, and installs
# what requirements/{run,test}.txt lock, by hash, with the package itself as an editable install.
# A second run does nothing: a stamp in .venv is keyed on the lock, the metadata and the Python.
#
#   PYTHON  the interpreter to use, instead of the first fitting one on PATH
#   VENV    the environment's folder, instead of .venv
set -eu

kind=${1:?usage: tools/setup.sh run|test}
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
venv=${VENV:-$top/.venv}
lock=$top/requirements/$kind.txt

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

[ -f "$lock" ] || fail "there is no $lock; the kinds are run and test"

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# The first interpreter that does it all; else `without_venv` holds one that only lacks venv.
find_python() {
    python='' without_venv='' seen=''
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 /usr/bin/python3}; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        seen="$seen $candidate ($(version_of "$candidate" || echo 'does not start'))"
        new_enough "$candidate" || continue
        if can_make_venv "$candidate"; then
            python=$candidate
            return 0
        fi
        [ -n "$without_venv" ] || without_venv=$candidate
    done
    return 1
}

# Installs Debian packages as root; otherwise says the command that does. Arguments: reason, packages.
need_packages() {
    reason=$1
    shift
    install="apt-get install -y $*"
    if [ "$(id -u)" != 0 ]; then
        fail "$reason. Install it, then try again:  sudo $install"
    fi
    command -v apt-get >/dev/null 2>&1 || fail "$reason. On Debian this gives it:  $install"
    say "$reason; running as root: $install"
    # shellcheck disable=SC2086 # words on purpose
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive $install; } >&2 ||
        fail "that did not work; do it by hand:  apt-get update && $install"
}

choose_python() {
    find_python && return 0
    if [ -n "$without_venv" ]; then
        need_packages "$without_venv has no venv and ensurepip modules" \
            "python$(version_of "$without_venv")-venv"
    elif [ -n "$seen" ]; then
        need_packages "kvmabi needs Python 3.11 or newer, and found only:$seen" \
            python3 python3-venv
    else
        need_packages "no Python was found" python3 python3-venv
    fi
    find_python || fail "still no usable Python 3.11 or newer with venv; set PYTHON=/path/to/python3"
}

# What an installed environment depends on: the lock, the metadata, the place and the interpreter.
key() {
    {
        cat "$lock" "$top/pyproject.toml"
        printf '%s\n' "$top" "$1"
    } | cksum | tr ' ' '-'
}

installed_for() { "$venv/bin/python" -c 'import sys; print(sys.version)' 2>/dev/null; }

stamped() {
    running=$(installed_for) || return 1
    [ -f "$venv/.stamp-$kind" ] && [ "$(cat "$venv/.stamp-$kind")" = "$(key "$running")" ]
}

make_venv() {
    if [ -d "$venv" ] && ! new_enough "$venv/bin/python"; then
        say "$venv does not work with its Python any more; making it anew"
        rm -rf "$venv"
    fi
    [ -d "$venv" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 && return 0
    choose_python
    say "making ${venv#"$top"/} with $python ($(version_of "$python"))"
    "$python" -m venv --clear "$venv" || fail "$python -m venv $venv failed"
}

install_locked() {
    say "installing what requirements/$kind.txt locks (the first time takes a moment)"
    pip="$venv/bin/python -m pip --disable-pip-version-check -qq --no-input"
    $pip install --require-hashes --only-binary :all: -r "$lock" ||
        fail "installing requirements/$kind.txt failed: is a package index reachable? (pip config list)"
    $pip install --no-deps --no-build-isolation --editable "$top" ||
        fail "installing kvmabi itself failed"
}

if ! stamped; then
    make_venv
    rm -f "$venv/.stamp-$kind"
    install_locked
    key "$(installed_for)" >"$venv/.stamp-$kind"
fi
