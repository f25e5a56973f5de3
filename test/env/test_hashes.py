"""Every file that is downloaded is one that the lock file names by its hash; another one is refused in one line."""

import ensurepip
import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DISTROS = ('jazzy', 'kilted')


@pytest.fixture
def install(monkeypatch):
    """env/install.py."""
    monkeypatch.syspath_prepend(ROOT / 'env')
    yield importlib.import_module('install')
    for name in ('install', 'message_packages', 'preflight', 'progress'):
        sys.modules.pop(name, None)


@pytest.mark.parametrize('distro', DISTROS)
def test_each_package_has_hashes_and_lines_hold_nothing_else(install, distro):
    text = (ROOT / f'env/lock-{distro}.txt').read_text()
    entries = install.locked(text)
    assert {'numpy', 'pip', 'setuptools', f'ros-{distro}-rclpy'} < set(entries)
    assert 'torch' not in entries
    for entry in entries.values():
        version, *hashes = entry.removesuffix('\n').split(' \\\n')
        assert re.fullmatch(r'[a-z0-9-]+==[\w.]+( ; .+)?', version), entry
        assert hashes, entry
        assert all(re.fullmatch(r'    --hash=sha256:[0-9a-f]{64}', line) for line in hashes), entry
    rest = text.replace(''.join(entries.values()), '').splitlines()
    # No address of a registry; built is only what has no wheel.
    assert [line for line in rest if not line.startswith('#')] == ['--only-binary :all:', '--no-binary empy']


def wheel(registry: Path, name: str, version: str, files: dict[str, bytes] | None = None) -> str:
    """Makes a package, an empty one without files, and returns its entry in a lock file."""
    registry.mkdir(exist_ok=True)
    path = registry / f'{name}-{version}-py3-none-any.whl'
    about = f'{name}-{version}.dist-info'
    files = files or {
        f'{about}/METADATA': f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'.encode(),
        f'{about}/WHEEL': b'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
        f'{about}/RECORD': ''.join(f'{about}/{part},,\n' for part in ('METADATA', 'WHEEL', 'RECORD')).encode(),
    }
    with zipfile.ZipFile(path, 'w') as file:
        for inside, content in files.items():
            file.writestr(inside, content)
    return f'{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n'


def pip_wheel(registry: Path) -> str:
    """Makes a package of the pip that is installed here; the one that venv brings may be too old for the set-up."""
    pip = metadata.distribution('pip')
    files = [file for file in pip.files if '..' not in file.parts and file.suffix != '.pyc']
    return wheel(registry, 'pip', pip.version, {str(file): file.locate().read_bytes() for file in files})


def set_up(folder: Path, lock: str) -> subprocess.CompletedProcess:
    """Runs the real env/setup.sh in a copy of the checkout, with a lock file and a registry of the test's."""
    shutil.copytree(ROOT / 'env', folder / 'env', ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('pyproject.toml', 'setup.py', 'setup.cfg', 'package.xml'):
        shutil.copy(ROOT / name, folder)
    (folder / 'env/lock-jazzy.txt').write_text(lock)
    environment = {name: value for name, value in os.environ.items() if not name.startswith('PIP_')}
    environment |= {'PIP_NO_INDEX': '1', 'PIP_FIND_LINKS': str(folder / 'registry'), 'PIP_CONFIG_FILE': os.devnull}
    environment |= {'PYTHON': os.path.realpath(sys._base_executable), 'ROS_DISTRO': 'jazzy'}
    return subprocess.run(
        ['sh', 'env/setup.sh'], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


def packages(folder: Path) -> set[str]:
    return {path.name for path in folder.glob('.venv/lib/python3*/site-packages/*.dist-info')}


def test_another_file_is_refused_in_one_line(tmp_path):
    good = [
        pip_wheel(tmp_path / 'registry'),
        *(wheel(tmp_path / 'registry', name, '1') for name in ('setuptools', 'a')),
    ]
    bad = wheel(tmp_path / 'registry', 'b', '1')
    received = re.search('sha256:(.+)', bad)[1]
    done = set_up(tmp_path, ''.join([*good, bad.replace(received, 'f' * 64)]))
    assert done.returncode == 1
    assert done.stderr.count('\n') == 1, done.stderr
    assert done.stderr.startswith('make setup: b==1: expected a file of the lock in env/, received another one, ')
    assert f'with sha256 {received}, from ' in done.stderr
    assert 'Next: ' in done.stderr
    # Those with the right hash are taken, but nothing is installed beside what is wrong.
    assert 'setuptools-1.dist-info' in packages(tmp_path)
    assert not {'a-1.dist-info', 'b-1.dist-info'} & packages(tmp_path)


def test_a_package_without_a_hash_is_refused(tmp_path):
    # pip is there by then: venv brings it without a download.
    pip = f'pip=={ensurepip.version()} \\\n    --hash=sha256:{"0" * 64}\n'
    setuptools = wheel(tmp_path / 'registry', 'setuptools', '1')
    done = set_up(tmp_path, pip + setuptools.partition(' \\')[0] + '\n')
    assert done.returncode == 1
    assert 'Hashes are required' in done.stderr
    assert 'setuptools-1.dist-info' not in packages(tmp_path)


@pytest.mark.parametrize(('found', 'accepted'), [('2.13.0', True), ('2.13.0+cpu', True), ('2.9.0', False), ('', False)])
def test_of_torch_the_version_is_checked(install, monkeypatch, tmp_path, found, accepted):
    monkeypatch.setattr(install, 'TORCH', 'torch==2.13.0')
    monkeypatch.setattr(install, 'SITE_PACKAGES', tmp_path)
    if found:
        about = tmp_path / f'torch-{found}.dist-info'
        about.mkdir()
        (about / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: torch\nVersion: {found}\n')
    if accepted:
        install.check_torch({'torch_pip_args': ''})
    else:
        with pytest.raises(
            install.SetupError, match=f'expected torch==2.13.0 in .venv, found {found or "none"}.* Next'
        ):
            install.check_torch({'torch_pip_args': '--target x'})
