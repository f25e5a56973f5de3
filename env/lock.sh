#!/bin/sh
# `make lock`: resolves env/requirements.in for Python 3.11 and later on Linux, into one lock file per ROS distribution.
# It has the hashes of all files of each version, so that pip takes no other, wherever it downloads from.
set -eu
cd "$(dirname "$0")"
../.venv/bin/python -m venv ../.venv/lock
../.venv/lock/bin/python -m pip install --quiet --require-hashes --only-binary :all: --requirement /dev/stdin <<'END'
uv==0.13.9 --hash=sha256:d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19
END

resolve() { # distribution, the other distribution
    # One version for all Pythons where there is one ("fewest"). The address of a registry is whoever's it is.
    sed -e "s/DISTRO/$1/" -e "/^ros-$2-/d" requirements.in |
        ../.venv/lock/bin/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
            --generate-hashes --no-emit-index-url \
            --no-annotate --custom-compile-command 'make lock' --output-file resolved.part -
    # Without packages for another system. pip heeds the order of options.
    { grep '^--' requirements.in; awk '/^[^ ]/ { keep = !/sys_platform == .(win32|emscripten)./ } keep' resolved.part; } >"lock-$1.txt"
    rm resolved.part
}
resolve jazzy kilted
resolve kilted jazzy
