"""`make setup` on a machine that lacks something: one line, exit status 1, nothing installed.

The real env/setup.sh runs in a copy of the checkout, with a PATH of a few tools.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILERS = ('cc', 'c++')


class Machine:
    """A checkout without .venv and a folder that is the whole PATH."""

    def __init__(self, folder):
        self.checkout = folder / 'checkout'
        self.bin = folder / 'bin'
        self.patches = folder / 'patches'
        shutil.copytree(ROOT / 'env', self.checkout / 'env', ignore=shutil.ignore_patterns('__pycache__'))
        for name in ('pyproject.toml', 'setup.py', 'setup.cfg', 'package.xml'):
            shutil.copy(ROOT / name, self.checkout)
        self.bin.mkdir()
        self.patches.mkdir()
        for tool in ('sh', 'dirname', 'uname'):
            self.link(tool, shutil.which(tool))
        self.link('python3', os.path.realpath(sys._base_executable))

    def link(self, name, target):
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).symlink_to(target)

    def script(self, name, text):
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(f'#!/bin/sh\n{text}\n')
        (self.bin / name).chmod(0o755)

    def patch_python(self, code):
        """Code that the machine's Python runs when it starts."""
        (self.patches / 'sitecustomize.py').write_text(code)

    def refusal(self, **environment):
        """The one line that the refused set-up prints."""
        done = subprocess.run(
            [self.bin / 'sh', 'env/setup.sh'],
            cwd=self.checkout,
            # Should a check fail to refuse, pip must not get anywhere.
            env={'PATH': str(self.bin), 'PYTHONPATH': str(self.patches), 'PIP_NO_INDEX': '1', **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stdout == ''
        assert done.stderr.startswith('make setup: ')
        assert done.stderr.count('\n') == 1, done.stderr
        assert 'Next' in done.stderr
        return done.stderr


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    assert not (machine.checkout / '.venv').exists()


def test_no_compiler(machine):
    line = machine.refusal()
    assert 'a working C compiler (cc), a working C++ compiler (c++)' in line
    assert line.endswith('sudo apt install build-essential\n')


def test_compiler_without_the_headers_of_the_c_library(machine):
    machine.script('cc', 'exit 1')
    machine.link('c++', shutil.which('c++'))
    # The linked driver finds its parts by the tools' usual places, so only C is reported.
    line = machine.refusal()
    assert 'a working C compiler (cc)' in line
    assert 'C++' not in line


def test_compiler_chosen_by_cc_is_the_one_that_is_checked(machine):
    assert '(no-such-cc)' in machine.refusal(CC='no-such-cc')


def test_python_too_old(machine):
    machine.script('python3', 'echo "3.9 /usr/bin/python3.9"')
    line = machine.refusal()
    assert 'needs CPython 3.11, 3.12 or 3.13; python3 is 3.9.' in line
    assert 'sudo apt install python3 python3-dev python3-venv' in line


def test_python_too_new_is_passed_over_for_one_that_fits(machine):
    machine.script('python3', 'echo "3.14 /usr/bin/python3.14"')
    assert 'python3 is 3.14' in machine.refusal()
    machine.link('python3.12', os.path.realpath(sys._base_executable))
    assert 'compiler' in machine.refusal()


def test_no_python(machine):
    (machine.bin / 'python3').unlink()
    assert 'found none' in machine.refusal()


def test_chosen_python_does_not_exist(machine):
    assert 'python9 does not run' in machine.refusal(PYTHON='python9')


def test_headers_and_venv_missing(machine):
    machine.patch_python(
        'import importlib.util, sysconfig\n'
        'find = importlib.util.find_spec\n'
        'importlib.util.find_spec = lambda name: None if name == "ensurepip" else find(name)\n'
        'sysconfig.get_path = lambda name: "/no/include"\n'
    )
    line = machine.refusal()
    assert '/no/include/Python.h' in line
    version = f'python3.{sys.version_info.minor}'
    assert line.endswith(f'sudo apt install {version}-venv {version}-dev build-essential\n')


@pytest.mark.parametrize('answer', ['glibc 2.27', ''])
def test_c_library_too_old_or_another(machine, answer):
    machine.patch_python(f'import os\nos.confstr = lambda name: {answer!r}\n')
    line = machine.refusal()
    assert 'glibc 2.28 or later' in line
    assert (answer or 'another C library') in line


@pytest.mark.parametrize('system', ['Linux aarch64', 'Darwin arm64'])
def test_other_machines_are_sent_to_the_ros_workspace(machine, system):
    name, processor = system.split()
    machine.script('uname', f'[ "$1" = -s ] && echo {name} || echo {processor}')
    line = machine.refusal()
    assert f'this is {system}' in line
    assert 'README.md' in line


def test_unknown_ros_distribution(machine):
    line = machine.refusal(ROS_DISTRO='humble')
    assert "ROS_DISTRO is 'humble'" in line
    assert 'jazzy and kilted' in line


def test_a_folder_of_someone_else_is_left_alone(machine):
    mine = machine.checkout / '.venv/mine'
    mine.mkdir(parents=True)
    assert 'not made by make setup' in machine.refusal()
    assert mine.is_dir()
    shutil.rmtree(mine.parent)
