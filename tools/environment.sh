#!/bin/sh
# Make .venv and install into it, by constraints.txt.
#
#   tools/environment.sh runtime    what running needs
#   tools/environment.sh dev        that, and what tests, lint, guests and models need
#
# PYTHON names the interpreter; without it, the first of Python 3.11 to 3.14 that can make a
# virtual environment. A .venv that fits is kept.
set -eu
cd "$(dirname "$0")/.."

SUITS='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))'

suits() { "$1" -c "$SUITS" 2>/dev/null; }
makes() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() {
    found=
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if suits "$name"; then
            found=$name
            if makes "$name"; then return; fi
        fi
    done
    if [ -n "$found" ]; then
        echo "setup: $found cannot make a virtual environment: apt-get install python3-venv" >&2
    elif [ -n "${PYTHON:-}" ]; then
        echo "setup: PYTHON=$PYTHON is not a Python 3.11, 3.12, 3.13 or 3.14" >&2
    else
        echo "setup: no Python 3.11, 3.12, 3.13 or 3.14 here: install one, or say PYTHON=PATH" >&2
    fi
    exit 1
}

pip() {
    .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"
}

fits() { # the one there works, and is of the version asked for, if one was
    suits .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1 || return 1
    [ -n "${PYTHON:-}" ] || return 0
    version='import sys; print(sys.version_info)'
    [ "$("$PYTHON" -c "$version" 2>/dev/null)" = "$(.venv/bin/python -c "$version")" ]
}

if ! fits; then
    find_python
    echo "setup: making .venv with $("$found" --version)"
    rm -rf .venv
    "$found" -m venv .venv
    pip install --constraint constraints.txt --upgrade pip
fi

locked() { pip install --constraint constraints.txt --build-constraint constraints.txt "$@"; }

case $1 in
runtime)
    echo "setup: installing sanderling and what it runs on"
    locked --editable .
    ;;
dev)
    echo "setup: installing what tests, lint, guests and models need"
    locked --editable '.[quantize,supervision]' --group dev --group models
    # Files are all we want of these: what they depend on is heavy and clashes with ours.
    locked --no-deps --group files
    ;;
*)
    echo "usage: tools/environment.sh runtime|dev" >&2
    exit 2
    ;;
esac
touch ".venv/.$1"
