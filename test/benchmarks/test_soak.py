"""A short soak of the node, as users run it; five cameras of 1080p at a time are left to longer ones."""

import os
import re
import subprocess
import sys

from diffcut_ros.arguments.benchmark import SOAK_PHASES
from support.domain import free_domain

COMMAND = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'soak']


def soak(*options: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(free_domain())}
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=600, env=environment)


def test_the_node_lives_and_does_not_grow():
    phases = [name for name in SOAK_PHASES if name != 'flood']
    done = soak('--minutes', '1.5', '--phases', *phases)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = dict(re.findall(r'^│ +(\w+) │ +(?:\d+|-) │ +(\d+) │', done.stdout, re.MULTILINE))
    assert list(rows) == phases
    assert all(int(labels) > 0 for labels in rows.values())
    memory = re.search(r'memory, MB +│ ([\d, ]+)', done.stdout).group(1).split(',')
    assert len(memory) == 4
    assert 'passed: ' in done.stdout


def test_a_node_that_cannot_run_fails(monkeypatch):
    monkeypatch.setenv('PYTHONWARNINGS', 'error::no.such.Warning')
    done = soak('--minutes', '0.1', '--phases', 'alone')
    assert done.returncode in (0, 1)
