"""The benchmark of analyses, as users run it."""

import re
import subprocess
import sys

from support.recordings import record

COMMAND = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'replay', '--frames', '3', '--rounds', '2']
PIECES = (
    'pipeline alone',
    'reading and decoding',
    'labels as PNG',
    'other messages',
    'bag',
    'tables',
    'video',
    'report',
)


def test_time_of_each_piece_of_an_analysis(tmp_path):
    film = record(tmp_path / 'film', 6)
    done = subprocess.run([*COMMAND, str(film)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # Of the six images as many as asked for; the benchmark itself compares that with the analysis.
    assert done.stdout.startswith('3 images of 64x48, ')
    rows = dict(re.findall(r'^\S (\S.*?) +\S +([\d.]+)', done.stdout, re.MULTILINE))
    assert set(rows) == {
        *PIECES,
        'analysis with all outputs',
        'processor time of the pipeline',
        'processor time of the analysis',
    }
    assert all(float(rows[name]) > 0 for name in ('pipeline alone', 'labels as PNG', 'bag', 'tables', 'video'))
    found = re.search(r'overhead, analysis / pipeline - 1: (-?[\d.]+)% \((-?[\d.]+)% to (-?[\d.]+)%\)', done.stdout)
    median, low, high = map(float, found.groups())
    assert -100 < low <= median <= high


def test_without_a_recording_it_takes_photographs():
    done = subprocess.run([*COMMAND, '--tau', '0.3'], capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith('3 images of 640x480, '), done.stderr
