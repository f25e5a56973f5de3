"""The benchmark of borders: its counts of things on label images whose answer is known, and its table."""

import re
import subprocess
import sys

import numpy as np

from diffcut_ros.benchmarks import borders
from support.datasets import write_dataset

COMMAND = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'borders']


def test_pieces_are_connected_by_sides():
    found = borders.pieces(np.array([[0, 0, 1], [1, 1, 0], [0, 1, 1]]))
    assert len(np.unique(found)) == 5
    assert found[1, 0] == found[2, 2]
    assert found[0, 2] != found[1, 1]


def test_which_things_are_found():
    """A wall with a pole of 3 pixels and a small square; then the pole's half alone, then the square as a line."""
    truth = np.zeros((120, 160), int)
    truth[:, 30:33], truth[40:50, 100:110] = 1, 2
    assert borders.found_things(truth, truth).tolist() == [[4, 1, 1], [4, 1, 1]]
    half = truth.copy()
    half[:80, 30:33] = 0  # the wall's two sides become one
    assert borders.found_things(half, truth).tolist() == [[4, 1, 1], [2, 1, 0]]
    line = truth.copy()
    line[40:46, 100:110] = 0
    assert borders.found_things(line, truth).tolist() == [[4, 1, 1], [3, 0, 1]]


def test_what_is_not_labelled_counts_nowhere():
    truth = np.zeros((120, 160), int)
    truth[:, 80:] = 1
    truth[:, 60:100] = -1
    labels = np.zeros((120, 160), int)
    labels[:, 65:] = 1
    assert borders.found_things(labels, truth).tolist() == [[2, 0, 0], [2, 0, 0]]
    assert borders.found_things(labels, np.full((120, 160), -1)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_command_prints_a_table(tmp_path):
    for name in ('bsds500', 'camvid'):
        root = write_dataset(name, tmp_path / name)
        done = subprocess.run([*COMMAND, name, str(root)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert '2 images, backend color, tau 0.5' in done.stdout
        rows = re.findall(r'│ (none|watershed|pamr) +│.*│ +(\d+) of 12 │[^│]*│', done.stdout)
        assert [refine for refine, _ in rows] == ['none', 'watershed', 'pamr']
        assert [lost for _, lost in rows[:2]] == ['0', '0']


def test_bad_input_is_one_line(tmp_path):
    done = subprocess.run([*COMMAND, 'camvid', str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr.count('\n')) == (2, 1)
