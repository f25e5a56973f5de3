"""The benchmark of instances: each of its measures on scenes whose answer is known, and its table."""

import re
import subprocess
import sys

import numpy as np
import pytest

from diffcut_ros.benchmarks import instances
from diffcut_ros.core import PinholeCamera, back_project
from support.rgbd import segmented, write_recording

COMMAND = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'instances']


def test_the_share_of_its_box_that_a_segment_fills():
    labels = np.zeros((20, 40), int)
    labels[:, 20:], labels[5:10, 10:20], labels[15:20, 35:40] = 1, 2, 2
    np.testing.assert_allclose(instances.fill(segmented(labels)), [350 / 400, 375 / 400, 75 / 450])


def test_which_segments_are_in_parts():
    labels = np.zeros((20, 40), int)
    labels[:, 30:], labels[5, 5], labels[6, 6] = 1, 2, 2  # corners do not connect
    assert instances.in_parts(segmented(labels)).tolist() == [False, False, True]


@pytest.mark.parametrize(('behind_m', 'share', 'expected'), [(2.0, 0.5, True), (1.2, 0.5, False), (2.0, 0.03, False)])
def test_which_boxes_reach_across_a_gap(behind_m, share, expected):
    depth_m = np.ones((60, 100), np.float32)
    depth_m[:, : round(100 * share)] = behind_m
    depth_m[0] = np.nan
    points_m = back_project(depth_m, PinholeCamera(500.0, 500.0, 50.0, 30.0, (60, 100))).reshape(-1, 3)
    assert instances.has_gap(segmented(np.zeros((60, 100), int)), points_m).tolist() == [expected]


def test_what_has_no_depth_has_no_gap():
    points_m = np.full((6000, 3), np.nan, np.float32)
    assert instances.has_gap(segmented(np.zeros((60, 100), int)), points_m).tolist() == [False]


def test_the_command_prints_a_table(tmp_path):
    write_recording(tmp_path / 'r', 5)
    done = subprocess.run([*COMMAND, str(tmp_path / 'r'), '--hz', '2'], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 'instances: 5 frames, backend color, tau 0.5' in done.stdout
    for kind in 'segments', 'connected', 'space':
        rows = re.findall(rf'{kind} +│ +(0|0.2) +│', done.stdout)
        assert rows == ['0', '0.2']


def test_bad_input_is_one_line(tmp_path):
    write_recording(tmp_path / 'r', 1)
    for root, expected in ((tmp_path, 'found none'), (tmp_path / 'r', 'expected at least 2 frames, received 1')):
        done = subprocess.run([*COMMAND, str(root)], capture_output=True, text=True, timeout=300)
        assert (done.returncode, 'Traceback' in done.stderr) == (2, False)
        assert expected in done.stderr
