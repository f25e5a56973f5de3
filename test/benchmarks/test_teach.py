"""The benchmark of the questions of diffcut_teach, on images whose answer is known."""

import re
import subprocess
import sys

from support.datasets import write_noisy

COMMAND = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'teach']


def test_each_of_four_things_is_asked_about_once(tmp_path):
    """The images show the same four, one of them without a label, and strips between them: that is to be skipped."""
    write_noisy(tmp_path / 'camvid', 4)
    options = ('--frames', '3', '--tau', '0.5', '--goal', '0.95', '--questions', '12', '--choices', '2')
    done = subprocess.run([*COMMAND, str(tmp_path / 'camvid'), *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 'CamVid, 4 images, 3 of them shown, backend color, tau 0.5; at best 0.9' in done.stdout
    assert re.search(r'proposal +│ +[45] │', done.stdout), done.stdout
    assert len(re.findall('random', done.stdout)) == 2


def test_bad_input_is_one_line(tmp_path):
    done = subprocess.run([*COMMAND, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr.count('\n')) == (2, 1)
    assert 'expected the folder of one data set' in done.stderr
