"""The benchmark of analyses, as users run it."""

import re
import subprocess
import sys
import time

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
    begin_s = time.monotonic()
    done = subprocess.run([*COMMAND, str(film)], capture_output=True, text=True, timeout=300)
    took_s = time.monotonic() - begin_s
    assert done.returncode == 0, done.stderr
    # Of the six images as many as asked for; the benchmark itself compares that with the analysis.
    assert done.stdout.startswith('3 images of 64x48, ')
    found = re.findall(r'^\S (\S.*?) +\S +([\d.]+)(?: \(.*?\))? +\S +([\d.]+)% ', done.stdout, re.MULTILINE)
    rows, shares = ({name: float(row[column]) for name, *row in found} for column in (0, 1))
    assert set(rows) == {
        *PIECES,
        'analysis with all outputs',
        'processor time of the pipeline',
        'processor time of the analysis',
    }
    pipeline_ms, analysis_ms = rows['pipeline alone'], rows['analysis with all outputs']
    for name, share in shares.items():  # as far as the figures are printed
        assert abs(share / 100 * pipeline_ms - rows[name]) < 0.06 + 0.002 * pipeline_ms, name
    # Milliseconds of one image of three, in two rounds; each piece once, and none in no time.
    pieces_ms = [rows[name] for name in PIECES[1:]]
    assert 3 * (2 * (pipeline_ms + analysis_ms) + sum(pieces_ms)) < 1000 * took_s
    assert all(rows[name] >= 1 for name in ('pipeline alone', 'bag', 'tables', 'video'))  # files, and a network's work
    found = re.search(r'overhead, analysis / pipeline - 1: (-?[\d.]+)% \((-?[\d.]+)% to (-?[\d.]+)%\)', done.stdout)
    median, low, high = map(float, found.groups())
    assert low <= median <= high
    assert low - 1 <= 100 * (analysis_ms / pipeline_ms - 1) <= high + 1


def test_without_a_recording_it_takes_photographs():
    done = subprocess.run([*COMMAND, '--tau', '0.3'], capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith('3 images of 640x480, '), done.stderr
