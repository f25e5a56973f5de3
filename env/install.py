"""Makes .venv: ROS 2 and everything else from the very files that a lock file names, packages of messages, this one.

Three stages, each with a stamp that is written last and compared by content. A stage without a valid stamp starts
anew, so a set-up that was interrupted anywhere is put right by the next one. Run by env/setup.sh.
"""

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import message_packages
import preflight
from progress import CommandFailedError, Step

ROOT = Path(__file__).resolve().parent.parent
ENV = ROOT / 'env'
VENV = ROOT / '.venv'
STATE = VENV / 'setup'  # choices, stamps, logs: survives when the rest of .venv is made anew
PYTHON = VENV / 'bin/python'
SITE_PACKAGES = VENV / f'lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages'

DISTROS = ('jazzy', 'kilted')
TORCH = 'torch==2.13.0'  # not in the locks: one version has several builds with different dependencies
# Those that the registry lacks, with the version whose messages the field lists of their name hold.
MESSAGE_PACKAGES = {
    'vision_msgs': '4.1.0',
    'foxglove_msgs': '3.4.3',
    'semantic_inference_msgs': '0.0.1',
    'tf2_msgs': '0.36.9',
}
STEPS = 5
FROM_LOCK = ('--require-hashes', '--no-deps')
PROGRESS = ('--progress-bar', 'raw')  # as lines to read, not as a bar; for the locked pip, older ones refuse it


class SetupError(Exception):
    """What is wrong and what to do next, in one line."""


def main() -> None:
    """Brings .venv up to date."""
    choices = choose()
    keys = stage_keys(choices)
    outdated = [stage for stage in keys if not is_done(stage, keys[stage])]
    if not outdated:
        print(f'.venv is up to date (ROS 2 {choices["ros_distro"]}, Python {sys.version.split()[0]})')
        return
    if problem := preflight.problem():
        raise SetupError(problem)
    with only_one_setup() as lock:
        # Another set-up may have finished while this one waited.
        if not is_done('packages', keys['packages']):
            install_packages(choices, keys, lock)
        if not is_done('messages', keys['messages']):
            install_messages(keys, lock)
        if not is_done('diffcut_ros', keys['diffcut_ros']):
            install_diffcut_ros(keys, lock)
    print('Ready: .venv/bin/python has rclpy, packages of messages and diffcut_ros. Next: make demo, make test')


def choose() -> dict[str, str]:
    """What the user chose now, completed by what .venv was made with, completed by the defaults."""
    held = STATE / 'choices.json'
    choices = {'ros_distro': 'jazzy', 'torch_pip_args': ''}
    if held.is_file():
        choices |= json.loads(held.read_text())
    elif VENV.exists() or VENV.is_symlink():
        raise SetupError(f'{VENV} was not made by make setup. Next: move it away, or remove it with make clean')
    for name in choices:
        choices[name] = os.environ.get(name.upper()) or choices[name]
    if choices['ros_distro'] not in DISTROS:
        raise SetupError(
            f'ROS_DISTRO is {choices["ros_distro"]!r}, and the Python registry has {" and ".join(DISTROS)}. '
            'Next: ROS_DISTRO=jazzy make setup, or build in a ROS workspace, see README.md'
        )
    return choices


def stage_keys(choices: dict[str, str]) -> dict[str, str]:
    """For each stage in order, everything its result depends on, hashed."""
    packages = digest(
        json.dumps(choices, sort_keys=True),
        TORCH,
        lock_file(choices),
        # Scripts name their interpreter by its whole path: neither a moved checkout nor another Python can keep .venv.
        str(VENV),
        sys.executable,
        str(sys.version_info[:2]),
    )
    return {
        'packages': packages,
        'messages': digest(
            packages,
            json.dumps(MESSAGE_PACKAGES),
            *(ENV / f'{name}.txt' for name in MESSAGE_PACKAGES),
            *(ENV / name for name in ('message_package.cmake', 'message_packages.py')),
        ),
        'diffcut_ros': digest(
            packages, *(ROOT / name for name in ('pyproject.toml', 'setup.py', 'setup.cfg', 'package.xml'))
        ),
    }


def lock_file(choices: dict[str, str]) -> Path:
    """The exact versions for the chosen distribution, and the hash of every file that pip may take."""
    return ENV / f'lock-{choices["ros_distro"]}.txt'


def locked(lock: str) -> dict[str, str]:
    """Name of each package in the text of a lock file -> its entry: the version, then its hashes, a line each."""
    return {entry.partition('==')[0]: entry for entry in re.findall(r'^[\w.-]+==.*\n(?: .*\n)*', lock, re.M)}


def digest(*parts: str | Path) -> str:
    """One hash of texts and of files' contents."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        whole.update(b'\0')
    return whole.hexdigest()


def is_done(stage: str, key: str) -> bool:
    """Whether this stage was finished with these very inputs."""
    stamp = STATE / f'{stage}.done'
    return stamp.is_file() and stamp.read_text() == key


@contextmanager
def only_one_setup() -> Iterator[int]:
    """Holds a lock, which children inherit: after kill -9, pip may live on and write into .venv for a while."""
    lock = os.open(ENV, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print('Waiting for another make setup, or what is left of one, in this folder', flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield lock
    finally:
        os.close(lock)


@contextmanager
def stage(name: str, key: str) -> Iterator[Path]:
    """Withdraws the stage's stamp, gives the path of its log, and stamps at the end."""
    STATE.mkdir(parents=True, exist_ok=True)
    # The first stage empties .venv, and with it what the later ones did.
    remove(STATE.glob('*.done' if name == 'packages' else f'{name}.done'))
    log = STATE / f'{name}.log'
    log.unlink(missing_ok=True)
    try:
        yield log
    except CommandFailedError as error:
        if refusal := other_file(log.read_text(errors='replace')):
            raise SetupError(f'{refusal}; whole output in {log}') from None
        print(error.tail, file=sys.stderr)
        raise SetupError(f'{error}; whole output in {log}. Next: {NEXT_STEPS[name]}') from None
    write(STATE / f'{name}.done', key)


def other_file(printed: str) -> str:
    """What is said when pip refused a file for its hash; empty if it did not."""
    found = re.search(r'^ +(.+?)(?: from (\S+).*)?:\n +Expected sha256 (?:.*\n)+? +Got +(\w+)', printed, re.M)
    if not found:
        return ''
    package, address, sha256 = found.groups()
    return (
        f'{package}: expected a file of the lock in env/, received another one, with sha256 {sha256}, from {address}; '
        'it was not installed. Next: make setup again, should the download be damaged; a registry that gives the same '
        'again has changed the file: use another'
    )


# Run in an empty environment: loads the compiled messages, writes the bytecode of what `make demo` imports first, and
# compiles what the package compiles for the processor.
CHECK = """
import cv2, diffcut_ros, rich.live, scipy.sparse, skimage.segmentation, torch
from foxglove_msgs.msg import ImageAnnotations
from rclpy.type_support import check_for_type_support
from semantic_inference_msgs.msg import FeatureImage
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo
for message in (Detection2DArray, Detection3DArray, FeatureImage, ImageAnnotations, LabelInfo, TFMessage):
    check_for_type_support(message)
from diffcut_ros.core.compiled import prepare
from diffcut_ros.features import create_extractor
prepare()
"""

NEXT_STEPS = {
    'packages': 'see the lines above; if the network failed, make setup again, what was downloaded is kept',
    'messages': 'see the lines above; then make setup again',
    'diffcut_ros': 'see the lines above; then make setup again',
}


def write(path: Path, text: str) -> None:
    """Writes all of a file or nothing."""
    part = path.with_suffix('.part')
    part.write_text(text)
    part.replace(path)


def install_packages(choices: dict[str, str], keys: dict[str, str], lock: int) -> None:
    """An empty virtual environment, then the locked packages, then PyTorch."""
    versions = lock_file(choices)
    text = versions.read_text()
    packages = locked(text)
    options = [line for line in text.splitlines() if line.startswith('--')]
    with stage('packages', keys['packages']) as log:
        # First of all, so that a set-up interrupted here continues with the same choices.
        write(STATE / 'choices.json', json.dumps(choices))
        step = Step(f'[1/{STEPS}] Virtual environment, Python {sys.version.split()[0]}')
        step.show('removing what was there')
        remove(path for path in VENV.iterdir() if path != STATE)
        step.run([sys.executable, '-m', 'venv', VENV], log, keep_open=(lock,))
        builders = STATE / 'builders.txt'
        write(builders, '\n'.join([*options, packages['pip'], packages['setuptools']]))
        step.run(pip('install', *FROM_LOCK, '-r', builders), log, keep_open=(lock,))
        step.end()

        step = Step(f'[2/{STEPS}] ROS 2 {choices["ros_distro"]} and Python packages')
        # What has no wheel is built: by the setuptools just installed, not by whichever is newest today.
        install = pip('install', *PROGRESS, *FROM_LOCK, '--no-build-isolation', '-r', versions)
        step.run(install, log, PipNotes(len(packages)), keep_open=(lock,))
        step.end()

        build = (
            choices['torch_pip_args']
            or 'as pip finds it: by default with several GB of CUDA; TORCH_PIP_ARGS chooses another'
        )
        step = Step(f'[3/{STEPS}] {TORCH} ({build})')
        # Each build has a hash of its own, and pins what only it needs. What it shares with other packages is installed
        # by now, and constrained to stay: by a list without hashes, since pip would otherwise want one of torch, too.
        shared = STATE / 'constraints.txt'
        write(shared, '\n'.join(entry.partition(' \\\n')[0] for entry in packages.values()))
        chosen = shlex.split(choices['torch_pip_args'])
        torch = pip('install', *PROGRESS, '-c', shared, '--only-binary', ':all:', *chosen, TORCH)
        step.run(torch, log, PipNotes(), keep_open=(lock,))
        check_torch(choices)
        # Found by ament tools as a sourced ROS distribution would be. The name sorts before the wheels' own .pth file,
        # which replaces the process.
        write(
            SITE_PACKAGES / 'ament_prefix.pth',
            "import os, sys; os.environ['AMENT_PREFIX_PATH'] = os.environ.get('AMENT_PREFIX_PATH') or sys.prefix\n",
        )
        step.end()


def check_torch(choices: dict[str, str]) -> None:
    """Raises SetupError unless the one version of PyTorch is there, in whichever build."""
    found = [one.version for one in metadata.distributions(name='torch', path=[str(SITE_PACKAGES)])]
    if [f'torch=={version.partition("+")[0]}' for version in found] != [TORCH]:
        raise SetupError(
            f'expected {TORCH} in .venv, found {", ".join(found) or "none"}. '
            f'Next: other TORCH_PIP_ARGS than {choices["torch_pip_args"]!r}, see the Makefile'
        )


def pip(command: str, *arguments: str | Path) -> list[str | Path]:
    """A pip command line for .venv, without compiling: most of torch is never imported, and CHECK sees to the rest."""
    return [PYTHON, '-m', 'pip', '--disable-pip-version-check', '--no-input', command, '--no-compile', *arguments]


class PipNotes:
    """Makes short notes of what pip prints: which package, how much of it."""

    def __init__(self, total: int | None = None):
        self._total = total
        self._count = 0
        self._name = ''

    def __call__(self, line: str) -> str | None:
        """The note for one line, or None."""
        word, _, rest = line.strip().partition(' ')
        if word in ('Collecting', 'Processing'):
            self._count += 1
            self._name = rest.split()[0].rpartition('/')[2]
            return self._counted()
        if word == 'Progress' and ' of ' in rest:
            done, of = (int(number) / 1e6 for number in rest.split(' of '))
            return f'{self._counted()}, {done:.0f} of {of:.0f} MB'
        if word == 'Installing':
            return 'unpacking'
        return None

    def _counted(self) -> str:
        return f'{self._count} of {self._total}: {self._name}' if self._total else self._name


def install_messages(keys: dict[str, str], lock: int) -> None:
    """The message packages, generated and compiled."""
    with stage('messages', keys['messages']) as log:
        step = Step(f'[4/{STEPS}] {", ".join(MESSAGE_PACKAGES)}, generated and compiled')
        for name, version in MESSAGE_PACKAGES.items():
            for pattern in (
                f'include/{name}',
                f'lib/lib{name}__*',
                f'lib/python*/site-packages/{name}*',
                f'share/{name}',
                f'share/ament_index/resource_index/*/{name}',
            ):
                remove(VENV.glob(pattern))
            for command in message_packages.commands(ENV / f'{name}.txt', STATE / name, VENV, SITE_PACKAGES, version):
                step.run(command, log, note_of_ninja, message_packages.environment(VENV), keep_open=(lock,))
        step.end()


def note_of_ninja(line: str) -> str | None:
    """Of "[57/103] Building ...", the count."""
    return line[1:].partition(']')[0].replace('/', ' of ') if line.startswith('[') else None


def install_diffcut_ros(keys: dict[str, str], lock: int) -> None:
    """This package in place: code, launch and config files are the checkout's own, as with --symlink-install."""
    with stage('diffcut_ros', keys['diffcut_ros']) as log:
        step = Step(f'[5/{STEPS}] diffcut_ros, in place')
        share = VENV / 'share/diffcut_ros'
        # Removed by hand: after an interruption pip knows only half of it, and it must not follow the links.
        for pattern in ('bin/diffcut_*', 'lib/python*/site-packages/*iffcut_ros*', 'share/diffcut_ros'):
            remove(VENV.glob(pattern))
        step.run(pip('install', '--no-deps', '--no-build-isolation', '--editable', ROOT), log, keep_open=(lock,))
        share.mkdir()
        for name in ('package.xml', 'launch', 'config'):
            (share / name).symlink_to(ROOT / name)
        marker = VENV / 'share/ament_index/resource_index/packages/diffcut_ros'
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        step.run([PYTHON, '-c', CHECK], log, env={})
        step.end()


def remove(paths: Iterable[Path]) -> None:
    """Removes files, links and folders."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


if __name__ == '__main__':
    try:
        main()
    except SetupError as error:
        print(f'make setup: {error}', file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print('\nmake setup: interrupted; the next make setup goes on from here', file=sys.stderr)
        sys.exit(130)
