"""Packages of messages that `make setup` does not install, built for a test."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support.checkout import ROOT

VENV, SITE_PACKAGES = Path(sys.prefix), Path(sysconfig.get_path('purelib'))


def message_package(field_lists: Path, version: str, folder: Path) -> dict[str, str]:
    """Build a package and return the variables of the environment in which it is there, before others of its name.

    Args:
        field_lists: of its messages, as in `env/`; the package has the name of the file.
        version: of the package.
        folder: an empty one, in which it is built and installed.
    """
    if not (VENV / 'bin/cmake').is_file():
        pytest.skip('needs the environment of make setup, which can build messages')
    sys.path.insert(0, str(ROOT / 'env'))
    import message_packages

    prefix, environment = folder / 'prefix', message_packages.environment(VENV)
    for command in message_packages.commands(field_lists, folder / 'build', VENV, SITE_PACKAGES, version, prefix):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def first(name: str, path: Path) -> str:
        return os.pathsep.join([str(path), *filter(None, [os.environ.get(name)])])

    return {
        'PYTHONPATH': first('PYTHONPATH', prefix / SITE_PACKAGES.relative_to(VENV)),
        'LD_LIBRARY_PATH': first('LD_LIBRARY_PATH', prefix / 'lib'),
        'AMENT_PREFIX_PATH': f'{prefix}{os.pathsep}{VENV}',
    }
