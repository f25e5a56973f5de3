"""`.venv` alone is enough: no environment variable is needed to use it, and the checkout is what it runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(Path(sys.prefix) != ROOT / '.venv', reason='not the environment of make setup')


def run_in_empty_environment(code, **environment):
    """What the code prints in a new interpreter whose whole environment is given."""
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_imports_without_any_environment_variable():
    code = 'import rclpy, vision_msgs.msg, diffcut_ros; print(diffcut_ros.__file__)'
    assert run_in_empty_environment(code) == str(ROOT / 'diffcut_ros/__init__.py')


def test_share_directory_is_the_checkout():
    code = 'from ament_index_python import get_package_share_directory as of; print(of("diffcut_ros"))'
    share = Path(run_in_empty_environment(code))
    assert (share / 'package.xml').resolve() == ROOT / 'package.xml'
    assert (share / 'launch').resolve() == ROOT / 'launch'
    assert (share / 'config').resolve() == ROOT / 'config'


def test_a_sourced_prefix_is_left_alone():
    code = 'import os; print(os.environ["AMENT_PREFIX_PATH"])'
    assert run_in_empty_environment(code, AMENT_PREFIX_PATH='/somewhere/ros') == '/somewhere/ros'


def test_executables_of_setup_py_are_there():
    for name in ('diffcut_node', 'diffcut_demo'):
        assert (ROOT / '.venv/bin' / name).is_file()


def test_make_keeps_a_sourced_ros_distribution_out(tmp_path):
    sourced = ('PYTHONPATH', 'LD_LIBRARY_PATH', 'AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH', 'COLCON_PREFIX_PATH')
    leftover = ('_ROS_WHEELS_BOOTSTRAP_COMPLETE', 'RMW_IMPLEMENTATION')
    (tmp_path / 'show.mk').write_text('show:\n\t@env\n')
    shown = subprocess.run(
        ['make', '--no-print-directory', '-f', 'Makefile', '-f', tmp_path / 'show.mk', 'show'],
        cwd=ROOT,
        env={'PATH': os.environ['PATH'], 'KEPT': 'yes'} | dict.fromkeys((*sourced, *leftover), '/sourced'),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert 'KEPT=yes' in shown
    assert '/sourced' not in shown
