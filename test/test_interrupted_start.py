"""Ctrl-C and SIGTERM while a program is still being imported: the system ends it, and nobody says a word."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['scripts']
# What can be run by `python -m`, the command that does the same, and arguments that are good: what follows is imported.
MODULES = {
    'analysis.main': ('diffcut_analyze', ['recording.mcap', '-o', 'out']),
    'analysis.reteach': ('diffcut_reteach', ['classes.yaml', '-o', 'new.yaml']),
    'benchmarks.main': ('diffcut_benchmark', ['ncut']),
    'evaluation.evaluate': ('diffcut_evaluate', ['camvid', 'root', '-o', 'out']),
    'features.export': ('diffcut_export', ['ssd-1b', 'out']),
    'node.demo.camera': ('', []),
    'node.demo.main': ('diffcut_demo', []),
    'node.diffcut_node': ('diffcut_node', []),
    'teach.main': ('diffcut_teach', ['recording.mcap']),
    'node.view.main': ('diffcut_view', []),
}
# Started by benchmarks alone, which end them.
CHILDREN = {'benchmarks.flood', 'benchmarks.listener'}
# Read by Python at its start: sends a signal with the import of that number, from the first of this package on.
SITE = """
import os
import sys

begun, left, number = False, int(os.environ['IMPORTS']), int(os.environ['SIGNAL'])


def count(event, arguments):
    global begun, left
    if event != 'import':
        return
    begun = begun or arguments[0] == os.environ['FROM']
    if begun:
        left -= 1
        if not left:
            os.kill(os.getpid(), number)


sys.addaudithook(count)
"""


def test_all_programs_are_here():
    paths = [path for path in (ROOT / 'diffcut_ros').rglob('*.py') if "__name__ == '__main__'" in path.read_text()]
    assert {'.'.join(path.relative_to(ROOT / 'diffcut_ros').with_suffix('').parts) for path in paths} == {
        *MODULES,
        *CHILDREN,
    }
    assert {command for command, _ in MODULES.values() if command} == set(COMMANDS)


@pytest.fixture(scope='module')
def interrupted(tmp_path_factory):
    """Function that runs Python with arguments, and sends it a signal at an import; returns the ended process."""
    site = tmp_path_factory.mktemp('site')
    (site / 'sitecustomize.py').write_text(SITE)

    def run(number: int, imports: int, first: str, *arguments: str) -> subprocess.CompletedProcess:
        search = os.pathsep.join([str(site), str(ROOT), os.environ.get('PYTHONPATH', '')])
        own = {'PYTHONPATH': search, 'IMPORTS': str(imports), 'SIGNAL': str(int(number)), 'FROM': first}
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=os.environ | own, cwd=site, capture_output=True, text=True, timeout=300)

    return run


def check(done: subprocess.CompletedProcess, number: int) -> None:
    """A signal ended it, without a word; or the program itself, which had begun, by its line."""
    assert (done.returncode, done.stderr) == (-number, '') or (
        done.returncode == 130 and done.stderr.endswith(': interrupted\n') and done.stderr.count('\n') == 1
    ), (done.returncode, done.stderr)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('imports', [1, 40, 400])
@pytest.mark.parametrize(('command', 'arguments'), [run for run in MODULES.values() if run[0]])
def test_a_command(interrupted, command, arguments, imports, number):
    module, _, function = COMMANDS[command].partition(':')
    script = f'import sys; from {module} import {function}; sys.argv[0] = {command!r}; sys.exit({function}())'
    check(interrupted(number, imports, 'diffcut_ros.exit_status', '-c', script, *arguments), number)


@pytest.mark.parametrize('imports', [20, 400])  # not with the first ones, which are this package's own and signal
@pytest.mark.parametrize('module', MODULES)
def test_a_module_that_is_run(interrupted, module, imports):
    done = interrupted(
        signal.SIGINT, imports, 'diffcut_ros.interruption', '-m', f'diffcut_ros.{module}', *MODULES[module][1]
    )
    check(done, signal.SIGINT)


def test_a_program_that_uses_the_library_keeps_its_own_handlers(tmp_path):
    (tmp_path / 'program.py').write_text(
        'import signal\nbefore = signal.getsignal(signal.SIGINT)\nimport diffcut_ros.core\n'
        'assert signal.getsignal(signal.SIGINT) is before is signal.default_int_handler\n'
    )
    search = os.pathsep.join([str(ROOT), str(tmp_path)])
    for how in (['-m', 'program'], [tmp_path / 'program.py'], ['-c', 'import program']):
        subprocess.run([sys.executable, *how], env={**os.environ, 'PYTHONPATH': search}, check=True, timeout=300)
