"""The package builds in a ROS workspace: what `colcon build` installs is what `ros2 run` and `ros2 launch` look for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import COMMANDS, ROOT, copy_of_the_checkout

pytestmark = pytest.mark.skipif(Path(sys.prefix) != ROOT / '.venv', reason='needs colcon from make setup')


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """A workspace with the package, which there asks pip for something that does not exist."""
    workspace = tmp_path_factory.mktemp('workspace')
    copy = copy_of_the_checkout(workspace / 'src/diffcut_ros')
    settings = copy / 'pyproject.toml'
    settings.write_text(settings.read_text().replace('dependencies = [', 'dependencies = ["no-such-package", ', 1))
    return workspace


def colcon(workspace, *arguments, status=0):
    """Runs colcon in the workspace, which ends with a status."""
    done = subprocess.run(
        [sys.executable, '-m', 'colcon', *arguments],
        cwd=workspace,
        env=os.environ | {'COLCON_HOME': str(workspace / 'home')},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def build(workspace, *arguments):
    """Runs `colcon build` and returns the package's install folder."""
    for folder in ('build', 'install', 'log'):
        shutil.rmtree(workspace / folder, ignore_errors=True)
    done = colcon(workspace, 'build', *arguments)
    assert done.stdout.count('Starting >>>') == 1  # one package, none below it
    return workspace / 'install/diffcut_ros'


def test_colcon_test(workspace):
    """The tests run, and one that fails is told; which ones, is given to pytest."""
    file = workspace / 'src/diffcut_ros/test/test_own.py'
    file.write_text('def test_passes():\n    pass\n\n\ndef test_fails():\n    raise AssertionError("as it should")\n')
    try:
        arguments = ['--packages-select', 'diffcut_ros', '--pytest-args', 'test/test_own.py']
        build(workspace)
        colcon(workspace, 'test', *arguments)
        results = colcon(workspace, 'test-result', '--verbose', status=1).stdout
        assert 'as it should' in results
        assert '2 tests, 0 errors, 1 failure, 0 skipped' in results
    finally:
        file.unlink()


def check_installed(prefix):
    """Everything that ROS tools look for is where they look."""
    assert (prefix / 'share/ament_index/resource_index/packages/diffcut_ros').is_file()
    share = prefix / 'share/diffcut_ros'
    assert (share / 'package.xml').read_bytes() == (ROOT / 'package.xml').read_bytes()
    for folder in ('launch', 'config'):
        expected = {path.name for path in (ROOT / folder).glob('*') if path.is_file()}
        assert {path.name for path in (share / folder).glob('*')} == expected
    assert {path.name for path in (prefix / 'lib/diffcut_ros').iterdir()} == COMMANDS


@pytest.mark.parametrize('arguments', [(), ('--packages-select', 'diffcut_ros', '--symlink-install')])
def test_colcon_build(workspace, arguments):
    prefix = build(workspace, *arguments)
    check_installed(prefix)
    assert 'no-such-package' in next(workspace.rglob('requires.txt')).read_text()
    # Nothing else was installed, and a command does not look for what pip would have.
    program = f'. {prefix.parent}/setup.sh && exec {prefix}/lib/diffcut_ros/diffcut_export --help'
    done = subprocess.run(['sh', '-c', program], capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith('usage: diffcut_export'), done.stderr
    installed = [path.name.replace('-', '_') for path in prefix.glob('lib/python*/site-packages/*')]
    assert installed
    assert all(name.startswith('diffcut_ros') for name in installed), installed
