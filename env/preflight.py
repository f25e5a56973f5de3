"""What a machine must have before anything is installed on it."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

OLDEST_GLIBC = (2, 28)  # the ROS wheels are built for manylinux_2_28


def problem() -> str | None:
    """Everything that is missing on this machine, in one line with the next step; None if set-up can start."""
    return _glibc_problem() or _packages_problem()


def _glibc_problem() -> str | None:
    try:
        name, _, version = (os.confstr('CS_GNU_LIBC_VERSION') or '').partition(' ')
    except ValueError:  # musl knows no such name
        name, version = '', ''
    if name == 'glibc' and tuple(map(int, version.split('.')[:2])) >= OLDEST_GLIBC:
        return None
    return (
        f'the ROS 2 packages of the Python registry need glibc {OLDEST_GLIBC[0]}.{OLDEST_GLIBC[1]} or later, '
        f'this machine has {f"glibc {version}" if name else "another C library"}. '
        'Next: a newer Debian or Ubuntu, or build in a ROS workspace instead, see README.md.'
    )


def _packages_problem() -> str | None:
    python = f'python{sys.version_info.major}.{sys.version_info.minor}'
    missing, packages = [], []
    if not (importlib.util.find_spec('venv') and importlib.util.find_spec('ensurepip')):
        missing.append(f'the modules venv and ensurepip of {sys.executable}')
        packages.append(f'{python}-venv')
    header = Path(sysconfig.get_path('include'), 'Python.h')
    if not header.is_file():
        missing.append(str(header))
        packages.append(f'{python}-dev')
    for language, variable, names, source in (
        ('C', 'CC', ('cc', 'gcc', 'clang'), '#include <stdio.h>'),
        ('C++', 'CXX', ('c++', 'g++', 'clang++'), '#include <vector>'),
    ):
        if not _compiles(language, shlex.split(os.environ.get(variable, '')), names, source):
            missing.append(f'a working {language} compiler ({os.environ.get(variable) or names[0]})')
            packages.append('build-essential')
    if not missing:
        return None
    packages = ' '.join(dict.fromkeys(packages))
    return f'not found: {", ".join(missing)}. Next, on Debian or Ubuntu: sudo apt install {packages}'


def _compiles(language: str, chosen: list[str], names: tuple[str, ...], source: str) -> bool:
    """Whether a file with one standard header compiles: a compiler without the C library's headers is no use."""
    command = chosen or next(([name] for name in names if shutil.which(name)), [])
    if not command or not shutil.which(command[0]):
        return False
    arguments = ['-x', language.lower(), '-fsyntax-only', '-']
    return subprocess.run([*command, *arguments], input=source.encode(), capture_output=True).returncode == 0
