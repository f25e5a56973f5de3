#!/bin/sh
# `make lock`: resolves env/requirements.in for Python 3.11 and later on Linux, into one lock file per ROS distribution.
set -eu
cd "$(dirname "$0")"
../.venv/bin/python -m venv ../.venv/lock
../.venv/lock/bin/python -m pip install --quiet uv==0.13.9

resolve() { # distribution, the other distribution
    # One version for all Pythons where there is one ("fewest"); lines for another system are dropped.
    sed -e "s/DISTRO/$1/" -e "/^ros-$2-/d" requirements.in |
        ../.venv/lock/bin/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
            --no-annotate --custom-compile-command 'make lock' --output-file resolved.part -
    sed "/sys_platform == 'win32'/d" resolved.part >"lock-$1.txt"
    rm resolved.part
}
resolve jazzy kilted
resolve kilted jazzy
