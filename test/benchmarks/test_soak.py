"""A short soak of the node, as users run it; five cameras of 1080p at a time are left to longer ones."""

import os
import re
import subprocess
import sys

import pytest

from diffcut_ros.arguments.benchmark import SOAK_PHASES
from support.domain import free_domain

COMMAND = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'soak']


def soak(*options: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(free_domain())}
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=600, env=environment)


@pytest.mark.slow
def test_the_node_lives_and_does_not_grow():
    phases = [name for name in SOAK_PHASES if name != 'flood']
    done = soak('--minutes', '2', '--phases', *phases)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = dict(re.findall(r'^│ +(\w+) │ +(?:\d+|-) │ +(\d+) │', done.stdout, re.MULTILINE))
    assert list(rows) == phases
    assert all(int(labels) > 0 for labels in rows.values())
    memory = re.search(r'memory, MB +│ ([\d, ]+)', done.stdout).group(1).split(',')
    assert len(memory) == 4
    assert 'passed: ' in done.stdout


def test_what_dies_fails():
    """The node is killed in the middle: by a phase that nobody would list."""
    kill = (
        'import os, signal; from diffcut_ros.benchmarks import soak;'
        "soak._PHASES['alone'] = lambda robot, end_s: (os.kill(robot.pid, signal.SIGKILL), robot.wait(9.0));"
        "from diffcut_ros.benchmarks.main import main; import sys; sys.argv[1:] = ['soak', '--phases', 'alone'];"
        'sys.exit(main())'
    )
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(free_domain())}
    done = subprocess.run([sys.executable, '-c', kill], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert 'FAILED: the node has ended with -9' in done.stdout
