"""The command in its own process, as users run it."""

import csv
import subprocess
import sys

import pytest

from support.waiting import PATIENCE_S

COMMAND = [sys.executable, '-m', 'diffcut_ros.analysis.main']


@pytest.fixture
def fast(tmp_path):
    """Options whose analysis is quick."""
    from diffcut_ros.analysis import AnalysisOptions  # needs rosbags

    path = tmp_path / 'fast.yaml'
    path.write_text('/**:\n  ros__parameters: {color: {cells: 10}}\n')
    return AnalysisOptions(params=path)


@pytest.fixture(scope='session')
def start():
    """Function that starts `diffcut_analyze` with arguments; returns the process."""

    def process(*arguments) -> subprocess.Popen:
        program = [*COMMAND, *map(str, arguments)]
        return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return process


@pytest.fixture(scope='session')
def run(start):
    """Function that runs `diffcut_analyze` with arguments, checks its status and returns stdout and stderr."""

    def command(*arguments, status: int = 0) -> tuple[str, str]:
        with start(*arguments) as process:
            out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == status, out + err
        return out, err

    return command


@pytest.fixture(scope='session')
def rows():
    """Function that returns the rows of a CSV table as dicts of texts."""

    def read(path) -> list[dict[str, str]]:
        with path.open() as file:
            return list(csv.DictReader(file))

    return read
