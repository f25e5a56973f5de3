"""`pip install .` without ROS: the wheel's library and commands, in a fresh environment."""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from diffcut_ros.missing import INCLUDES, OPTIONAL, ROS
from support.checkout import COMMANDS, PROJECT, ROOT, copy_of_the_checkout
from support.recordings import record

pytestmark = pytest.mark.skipif(Path(sys.prefix) != ROOT / '.venv', reason='needs setuptools from make setup')
PIP = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '-q']


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp('wheel')
    checkout = copy_of_the_checkout(folder / 'checkout')
    command = [*PIP, 'wheel', checkout, '--no-deps', '--no-build-isolation', '--no-index', '-w', folder]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = folder.glob('*.whl')
    return wheel


@pytest.fixture
def environment(wheel, tmp_path):
    """Function that installs the wheel beside links to the packages of .venv, those of ROS and some others left out."""

    def make(*left_out: str) -> Path:
        environment = tmp_path / 'environment'
        subprocess.run([sys.executable, '-m', 'venv', '--without-pip', environment], check=True, timeout=300)
        version = f'lib/python3.{sys.version_info.minor}/site-packages'
        without = {*ROS, *left_out, 'diffcut_ros', '__pycache__'}
        for path in (ROOT / '.venv' / version).iterdir():
            if re.split('[.-]', path.name)[0] not in without and path.suffix != '.pth':
                (environment / version / path.name).symlink_to(path)
        install = [*PIP, '--python', environment / 'bin/python', 'install', '--no-deps', '--no-index', wheel]
        subprocess.run(install, check=True, timeout=300)
        return environment

    return make


def run(*command) -> subprocess.CompletedProcess:
    # Elsewhere: the checkout's own package is not to be found.
    return subprocess.run(command, cwd='/', env={}, capture_output=True, text=True, timeout=300)


SEGMENT = """
import importlib.util, diffcut_ros
from diffcut_ros.core import Segmenter
from diffcut_ros.features import create_extractor
from skimage import data

assert importlib.util.find_spec('rclpy') is None
print(diffcut_ros.__file__)
print(len(Segmenter(create_extractor('color', 'cpu')).segment(data.coffee()).segments))
"""


def test_segments_a_photograph_and_analyses_a_recording(environment, tmp_path):
    folder = environment()
    done = run(folder / 'bin/python', '-c', SEGMENT)
    assert done.returncode == 0, done.stderr
    place, segments = done.stdout.split()
    package = Path(place).parent
    assert package.is_relative_to(folder)
    assert int(segments) > 2
    # Types for those who use it, and all that the code reads beside itself.
    in_checkout = {path.relative_to(ROOT) for path in (ROOT / 'diffcut_ros').rglob('*') if path.is_file()}
    expected = {path for path in in_checkout if '__pycache__' not in path.parts}
    assert {Path('diffcut_ros/py.typed'), Path('diffcut_ros/analysis/report/report.html')} < expected
    assert {path for path in expected if not (package.parent / path).is_file()} == set()
    assert (folder / 'share/diffcut_ros/config/diffcut.yaml').is_file()

    film = record(tmp_path / 'film', 3)
    done = run(folder / 'bin/diffcut_analyze', film, '-o', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / 'out/run.json').read_text())['frames'] == 3
    assert (tmp_path / 'out/report.html').is_file()


def test_commands_say_what_is_not_installed(environment):
    folder = environment(*OPTIONAL)
    assert {path.name for path in (folder / 'bin').glob('diffcut_*')} == COMMANDS
    extras = {
        'analyze': 'analyze',
        'evaluate': 'evaluate',
        'export': 'diffusion',
        'benchmark': 'evaluate',
        'teach': 'teach',
    }
    # What is wrong with arguments is told before what is missing.
    arguments = {
        'analyze': ['bag', '-o', folder / 'out'],
        'evaluate': ['camvid', folder, '-o', folder / 'out'],
        'export': ['ssd-1b', folder / 'model'],
        'benchmark': ['ncut'],
        'teach': ['bag'],
    }
    for name, extra in extras.items():
        done = run(folder / f'bin/diffcut_{name}', *arguments[name])
        assert (done.returncode, done.stdout) == (2, '')
        assert done.stderr.startswith(f'diffcut_{name}: ')
        assert f"pip install 'diffcut_ros[{extra}]'" in done.stderr
        assert done.stderr.count('\n') == 1
    for name in ('node', 'demo', 'view'):
        done = run(folder / f'bin/diffcut_{name}')
        assert (done.returncode, done.stdout) == (2, '')
        assert done.stderr.startswith(f'diffcut_{name}: expected a ROS 2 environment with the package ')
        assert done.stderr.count('\n') == 1


def test_a_package_that_is_there_but_broken_is_not_called_missing(environment):
    folder = environment('rosbags')
    (broken,) = (folder / 'lib').glob('python*/site-packages')
    (broken / 'rosbags').mkdir()
    (broken / 'rosbags/__init__.py').touch()
    done = run(folder / 'bin/diffcut_analyze', 'bag', '-o', folder / 'out')
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'rosbags." in done.stderr


def test_extras_are_those_of_pyproject():
    named = {}
    for package, *extras in OPTIONAL.values():
        for extra in extras:
            named.setdefault(extra, set()).add(package)
    extras = {
        name: {package.partition('>')[0] for package in packages}
        for name, packages in PROJECT['optional-dependencies'].items()
    }
    assert extras.pop('test') == {'pytest'}  # for colcon
    assert extras.pop('all') == {f'diffcut_ros[{",".join(extras)}]'}
    for extra, included in INCLUDES.items():
        extras[extra].remove(f'diffcut_ros[{included}]')
    assert named == extras


def test_the_version_is_that_of_package_xml():
    assert f'<version>{importlib.metadata.version("diffcut_ros")}</version>' in (ROOT / 'package.xml').read_text()
