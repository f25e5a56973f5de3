"""Where compiled functions are kept, and what is said. Each case takes new processes, as nothing is compiled twice."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from diffcut_ros.core import compiled as module

SOURCE = """
import compiled

@compiled.compiled('float64(float64[::1])')
def total(values):
    result = 0.0
    for i in range(len(values)):
        result += values[i]
    return result
"""
RUN = """
import compiled, numpy, total
compiled.prepare(lambda text: print('told', text), lambda text: print('warned', text))
assert total.total(numpy.arange(5.0)) == 10
"""


@pytest.fixture
def folder(tmp_path):
    # Without the package, which takes seconds to import.
    shutil.copy(module.__file__, tmp_path)
    (tmp_path / 'total.py').write_text(SOURCE)
    return tmp_path


def run(folder: Path, program: str = RUN, **environment: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if name != 'NUMBA_CACHE_DIR'}
    done = subprocess.run(
        [sys.executable, '-c', program],
        env=kept | {'PYTHONPATH': str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return (done.stdout + done.stderr).splitlines()


def test_it_is_compiled_once(folder):
    first = run(folder)
    assert [line.split()[:2] for line in first] == [['told', 'compiling'], ['told', 'compiled']]
    assert run(folder) == []


def test_changed_code_is_compiled_again(folder):
    run(folder)
    # Of another length: Python itself does not notice a change within a second that keeps it.
    changed = SOURCE.replace('result = 0.0', 'result = 1.00')
    (folder / 'total.py').write_text(changed)
    assert run(folder, RUN.replace('== 10', '== 11'))[0].startswith('told compiling')


def test_the_folder_can_be_chosen(folder, tmp_path):
    chosen = tmp_path / 'chosen'
    run(folder, NUMBA_CACHE_DIR=str(chosen))
    assert list(chosen.rglob('total.total-*.nbi'))
    assert run(folder, NUMBA_CACHE_DIR=str(chosen)) == []


def test_without_a_folder_it_is_told_and_works(folder):
    (folder / '__pycache__').write_text('in the way')
    nowhere = {'HOME': '/dev/null', 'XDG_CACHE_HOME': '/dev/null', 'NUMBA_CACHE_DIR': '/dev/null'}
    for _ in range(2):
        *_, last = lines = run(folder, **nowhere)
        assert len(lines) == 3
        assert last.startswith('warned what was compiled is not kept')
        assert 'NUMBA_CACHE_DIR' in last


@pytest.mark.parametrize(('kind', 'kept'), [('*.nbi', 0), ('*.nbi', -20), ('*.nbc', 0)])
def test_damaged_files_are_replaced(folder, kind, kept):
    run(folder)
    (damaged,) = (folder / '__pycache__').glob(kind)
    damaged.write_bytes(damaged.read_bytes()[:kept])
    assert [line.split()[:2] for line in run(folder)] == [['told', 'compiling'], ['told', 'compiled']]
    assert run(folder) == []


def test_a_full_disk_is_told_and_works(folder):
    limit = 'import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (99, 99)); import'
    program = RUN.replace('import', limit, 1)
    last = run(folder, program)[-1]
    assert last.startswith('warned what was compiled is not kept')
    assert 'File too large' in last


def test_without_preparation_the_first_call_compiles(folder):
    program = 'import numpy, total; assert total.total(numpy.arange(5.0)) == 10'
    assert run(folder, program)[0].startswith('compiling for this processor')
    assert run(folder, program) == []


MANY = """
import multiprocessing, numpy, total

def work(_):
    return total.total(numpy.arange(5.0))

if __name__ == '__main__':
    for method in ('fork', 'spawn'):
        with multiprocessing.get_context(method).Pool(3) as pool:
            assert pool.map(work, range(6), chunksize=1) == [10] * 6
        work(0)  # what follows is forked from a process that has compiled
"""


def test_many_processes_at_once(folder):
    (folder / 'many.py').write_text(MANY)
    program = f"import runpy, sys; sys.argv = ['{folder}/many.py']; runpy.run_path(*sys.argv, run_name='__main__')"
    assert run(folder, program)[-1].startswith('compiled 1 function in ')


def test_other_types_are_refused():
    @module.compiled('float64(float64[::1])')
    def first(values):
        return values[0]

    module.prepare()
    with pytest.raises(TypeError, match='No matching definition'):
        first([1.0])
