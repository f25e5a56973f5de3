"""The package builds in a ROS workspace: what `colcon build` installs is what `ros2 run` and `ros2 launch` look for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(Path(sys.prefix) != ROOT / '.venv', reason='needs colcon from make setup')


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """A workspace whose src/diffcut_ros has the files that git would commit."""
    workspace = tmp_path_factory.mktemp('workspace')
    listing = ['git', '-C', ROOT, 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    for name in filter(None, subprocess.check_output(listing, text=True).split('\0')):
        if (ROOT / name).is_file():
            copy = workspace / 'src/diffcut_ros' / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy)
    return workspace


def build(workspace, *arguments):
    """Runs `colcon build` and returns the package's install folder."""
    for folder in ('build', 'install', 'log'):
        shutil.rmtree(workspace / folder, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, '-m', 'colcon', 'build', *arguments],
        cwd=workspace,
        env=os.environ | {'COLCON_HOME': str(workspace / 'home')},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('Starting >>>') == 1  # one package, none below it
    return workspace / 'install/diffcut_ros'


def check_installed(prefix):
    """Everything that ROS tools look for is where they look."""
    assert (prefix / 'share/ament_index/resource_index/packages/diffcut_ros').is_file()
    share = prefix / 'share/diffcut_ros'
    assert (share / 'package.xml').read_bytes() == (ROOT / 'package.xml').read_bytes()
    for folder in ('launch', 'config'):
        expected = {path.name for path in (ROOT / folder).glob('*') if path.is_file()}
        assert {path.name for path in (share / folder).glob('*')} == expected
    for name in ('diffcut_node', 'diffcut_demo'):
        assert os.access(prefix / 'lib/diffcut_ros' / name, os.X_OK)


@pytest.mark.parametrize('arguments', [(), ('--packages-select', 'diffcut_ros', '--symlink-install')])
def test_colcon_build(workspace, arguments):
    check_installed(build(workspace, *arguments))
