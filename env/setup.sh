#!/bin/sh
# `make setup`: chooses the Python, then env/install.py does the rest. Kept in sh because the only Python may be too old.
set -eu
cd "$(dirname "$0")/.."

fail() { echo "make setup: $1" >&2; exit 1; }

machine="$(uname -s) $(uname -m)"
[ "$machine" = 'Linux x86_64' ] || fail "this is $machine, and the ROS 2 packages of the Python registry exist for Linux x86_64 only. \
Next: build in a ROS workspace instead, see README.md."

# Prints "3.11 /usr/bin/python3.11": version, then the interpreter behind any virtual environment.
# Prints "other" for interpreters that binary packages are not built for.
describe='import os, sys, sysconfig
fits = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
print("%d.%d" % sys.version_info[:2] if fits else "other", base)'

# What .venv was made with comes first: a second Python on the PATH is no reason to make it anew.
found=''
for candidate in ${PYTHON:-.venv/bin/python python3 python3.13 python3.12 python3.11}; do
    described="$("$candidate" -I -S -c "$describe" 2>/dev/null)" || continue
    case "$described" in
        3.11\ * | 3.12\ * | 3.13\ *) exec "${described#* }" env/install.py ;;
    esac
    found="$found $candidate is ${described%% *},"
done
if [ -n "${PYTHON:-}" ]; then
    found="${found:- $PYTHON does not run as a Python,}"
    fail "needs CPython 3.11, 3.12 or 3.13;${found%,}. Next: name another, PYTHON=..., or leave PYTHON out."
fi
found="${found:- found none,}"
fail "needs CPython 3.11, 3.12 or 3.13;${found%,}. \
Next: sudo apt install python3 python3-dev python3-venv (Debian 12, Ubuntu 24.04 or later), or name one: make setup PYTHON=/path/to/python3.12"
