#!/bin/sh
# Install Debian packages whose commands are missing, where that is allowed.
#
#   tools/packages.sh COMMAND=PACKAGE[,PACKAGE...]...
#
# Where it is not (no apt-get, not root and no passwordless sudo), one line says what to install,
# and what comes next decides: tests/system.py skips, or fails when CI=true.
set -eu

missing=
for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing="$missing $(echo "${pair#*=}" | tr , ' ')"
done
[ -n "$missing" ] || exit 0

as=
if [ "$(id -u)" != 0 ]; then as='sudo -n'; fi
if command -v apt-get >/dev/null && $as true 2>/dev/null; then
    echo "packages: installing$missing"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # words are meant
    if $as apt-get update >"$log" 2>&1 </dev/null &&
        $as apt-get install --yes --no-install-recommends $missing >>"$log" 2>&1 </dev/null; then
        rm -f "$log"
        exit 0
    fi
    tail -n 5 "$log" >&2
    rm -f "$log"
fi
echo "packages: missing; apt-get install$missing" >&2
