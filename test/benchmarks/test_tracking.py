import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffcut_ros.benchmarks import tracking, tracking_world
from diffcut_ros.benchmarks.tracking import BASELINE, BEST, NONE, TRACKER
from diffcut_ros.core import PinholeCamera
from diffcut_ros.core.frame import describe_segments

KITCHEN = Path(__file__).parents[3] / 'shared' / 'data' / 'rgbd_kitchen'
COMMAND = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'tracking']
INTRINSICS = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])


def test_kept_share():
    # Of four points with an identity two keep it; one loses it, one gets another.
    assert tracking.kept_share(np.array([0, 1, 1, 2, 2]), np.array([3, 1, 0, 2, 1])) == 0.5
    assert np.isnan(tracking.kept_share(np.array([0, 0]), np.array([1, 2])))


def test_switches():
    before = np.array([0] * 30 + [5] * 30 + [6] * 30 + [7] * 30 + [8] * 3)
    after = np.array([5] * 30 + [5] * 20 + [6] * 10 + [7] * 20 + [6] * 10 + [0] * 30 + [1] * 3)
    # 5 mostly stays, 6 mostly becomes 7, 7 is lost; none (0) and the three points of 8 do not count.
    assert tracking.count_switches(before, after) == (2, 3)


def test_the_best_identities_keep_the_most_points():
    # 1 meets label 1 five times and label 2 four times, 2 meets label 1 four times: crosswise 8 points are kept.
    before, after = np.array([1] * 9 + [2] * 4 + [0]), np.array([1] * 5 + [2] * 4 + [1] * 4 + [3])
    best = tracking.best_identities(before, after)
    assert best.tolist() == [2] * 5 + [1] * 4 + [2] * 4 + [0]
    assert tracking.kept_share(before, best) == 8 / 13


def test_track_lengths():
    frames = [np.array([1, 1, 4]), np.array([0, 0, 4]), np.array([1, 4, 9])]
    assert tracking.track_lengths(frames).tolist() == [3, 3, 1]
    assert tracking.track_lengths([np.zeros(4, int)] * 3).tolist() == []


def test_where_a_view_shows_what_another_showed():
    # The second view begins 6 columns further right and 3 rows further down in the photograph.
    before = np.array([[1.0, 0, 10], [0, 1, 20]])
    here, there = tracking.view_correspondence(before, before + np.array([[0, 0, 6], [0, 0, 3]]), (40, 50))
    y, x = np.divmod(here, 50)
    assert np.array_equal(there, (y - 3) * 50 + x - 6)
    assert len(here) == len(range(6, 50, 2)) * len(range(4, 40, 2))


def test_where_a_second_depth_image_shows_the_same_points():
    pose, pose_after = np.eye(4), np.eye(4)
    pose_after[0, 3] = 0.2  # 0.2 m to the right, before a wall 2 m away: all move 5 columns to the left
    depth, depth_after = np.full((2, 48, 64), 2.0, np.float32)
    here, there = tracking.depth_correspondence(depth, pose, depth_after, pose_after, INTRINSICS)
    x = here % 64
    assert np.array_equal(there, here - 5)
    assert (len(here), x.min(), x.max()) == (24 * 29, 6, 62)

    # Something comes to stand before the wall, 10 x 20 pixels; around it lie 4 pixels of edge.
    depth_after[20:30, 20:40] = 1.0
    here, there = tracking.depth_correspondence(depth, pose, depth_after, pose_after, INTRINSICS)
    hidden = np.zeros((48, 64), bool)
    hidden[16:34, 16:44] = True
    assert not hidden.ravel()[there].any()
    assert np.array_equal(here, there + 5)
    assert len(here) == 24 * 29 - len(range(16, 34, 2)) * len(range(21, 49, 2))

    # Without a reading, a pixel says nothing, and nor do those around it.
    depth[:, 40] = 0.0
    here, _ = tracking.depth_correspondence(depth, pose, np.full_like(depth, 2.0), pose_after, INTRINSICS)
    assert not set(range(36, 45)) & set((here % 64).tolist())


def test_scores_of_a_scene_whose_labels_swap():
    halves = np.zeros((40, 60), np.int64)
    halves[:, 30:] = 1
    features = np.eye(2, dtype=np.float32)
    # The camera stands still; every other frame numbers the halves the other way round.
    segmentations = [describe_segments(halves ^ i % 2, features[:: 1 - 2 * (i % 2)], 0, tau=0.5) for i in range(4)]
    still = np.arange(2400)
    sequence = tracking.Sequence(
        'still', 2.0, 4, lambda i: np.zeros((40, 60, 3), np.uint8), lambda i, j: (still, still)
    )
    records = tracking.follow(segmentations, sequence.hz)
    labels = [segmentation.labels.ravel() for segmentation in segmentations]
    scores, _ = tracking.measure(records, labels, sequence, range(3))
    for method in (TRACKER, BASELINE, BEST):
        assert (scores[method].kept, scores[method].kept_1s, scores[method].switches) == (1, 1, 0)
    # After 1 s, two frames, the labels are the same again; each half switches twice per second.
    assert (scores[NONE].kept, scores[NONE].kept_1s, scores[NONE].switches) == (0, 1, 2)
    assert (scores[TRACKER].track_s, scores[TRACKER].identities) == (2.0, 2)
    assert scores[TRACKER].median_ms > 0


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=300)


def kept(stdout: str, method: str) -> list[float]:
    """Return the shares of kept pixels in the rows of a method."""
    return [float(share) for share in re.findall(rf'{method} *│ (\d\.\d+)', stdout)]


def test_the_virtual_camera():
    done = run('--limit', '4')
    assert done.returncode == 0, done.stderr
    assert 'coffee: 4 frames at 15 Hz' in done.stdout
    assert 'tracking: backend color, tau 0.5' in done.stdout
    rows = {method: kept(done.stdout, method) for method in (TRACKER, NONE, BEST)}
    assert [len(shares) for shares in rows.values()] == [5, 5, 5]  # four photographs and their mean
    assert all(none < ours <= best for ours, none, best in zip(*rows.values(), strict=True))
    assert rows[TRACKER][-1] > 0.8


@pytest.mark.skipif(
    not KITCHEN.exists(), reason='RGB-D frames are not beside the checkout (../shared/data/rgbd_kitchen)'
)
def test_real_frames():
    done = run(str(KITCHEN), '--limit', '5', '--every', '2')
    assert done.returncode == 0, done.stderr
    assert 'rgbd_kitchen: 5 frames at 15 Hz' in done.stdout
    (ours,), (none,), (best,) = (kept(done.stdout, method) for method in (TRACKER, NONE, BEST))
    assert none < ours <= best
    assert ours > 0.8


@pytest.mark.skipif(
    not KITCHEN.exists(), reason='RGB-D frames are not beside the checkout (../shared/data/rgbd_kitchen)'
)
def test_the_true_motion_of_real_frames_fits_their_colours():
    sequence = tracking.rgbd_sequence(KITCHEN, 30.0, 1)
    before, after = (cv2.GaussianBlur(sequence.image(i), (0, 0), 2).reshape(-1, 3).astype(int) for i in (0, 30))
    here, there = sequence.correspondence(0, 30)
    moved = np.abs(before[here] - after[there]).mean()
    still = np.abs(before[here] - after[here]).mean()
    assert len(here) > 0.3 * before.shape[0] / 4
    assert moved < still / 2


def test_bad_input_is_one_line(tmp_path):
    done = run(str(tmp_path))
    assert (done.returncode, 'Traceback' in done.stderr) == (2, False)
    assert 'expected frame-N.color.jpg, .depth.png and .pose.txt, found none' in done.stderr
    (tmp_path / 'frame-0.color.jpg').write_bytes(b'')
    assert 'frame-0.color.jpg: expected an image' in run(str(tmp_path)).stderr
    assert cv2.imwrite(str(tmp_path / 'frame-0.color.jpg'), np.zeros((8, 8, 3), np.uint8))
    assert 'camera-intrinsics.txt: expected this file beside the frames' in run(str(tmp_path)).stderr
    assert '--limit: expected a whole number of at least 2' in run('--limit', '1').stderr
    assert '--every: expected a whole number of at least 1' in run('--every', '0').stderr


FLAT = PinholeCamera(100.0, 100.0, 31.5, 31.5, (64, 64))


def test_where_points_were_seen_last():
    """A camera that goes 0.1 m to the right, before a wall 2 m away, and comes back: all moves 5 columns."""
    poses = [np.eye(4) for _ in range(3)]
    poses[1][0, 3] = 0.1
    depth = np.full((64, 64), 2000, np.uint16)
    hidden = depth.copy()
    hidden[:, 10:20] = 1000
    _, second, third = tracking_world.last_seen([depth, hidden, depth], poses, FLAT, [0, 1, 2])
    near = (second.here % 64 >= 10) & (second.here % 64 < 20)
    inside = second.here % 64 + 5 < 64
    assert np.array_equal(second.frame, np.where(inside & ~near, 0, -1))
    assert np.array_equal(second.there[inside & ~near], second.here[inside & ~near] + 5)
    # What the second does not show, or something before it hides, was seen in the first.
    column = third.here % 64 - 5
    assert np.array_equal(third.frame, np.where((column < 0) | ((column >= 10) & (column < 20)), 0, 1))
    (_, _, only) = tracking_world.last_seen([depth, hidden, depth], poses, FLAT, [0, 1, 1])
    assert set(only.frame) == {0}


def test_scores_of_identities_that_come_back():
    """The camera stands still; of two halves the right one is hidden for 4 s, then back."""
    left, right = np.arange(4096) % 64 < 32, np.arange(4096) % 64 >= 32
    poses = [np.eye(4)] * 3
    wall, half = np.full((64, 64), 2000, np.uint16), np.full((64, 64), 2000, np.uint16)
    half[:, 32:] = 1000
    truth = tracking_world.last_seen([wall, half, wall], poses, FLAT, [0, 1, 2])
    points = np.stack([np.tile(np.arange(64) / 50, 64), np.repeat(np.arange(64) / 50, 64), np.full(4096, 2.0)], 1)

    def scored(again: int, hidden: int = 3, there_m: float = 0.0):
        ids = [np.where(left, 1, 2), np.where(left, 1, hidden), np.where(left, 1, again)]
        places = points, points - [0, 0, 1] * right[:, None], points + [there_m, 0, 0] * right[:, None]
        return tracking_world.score(ids, truth, truth, [0, 2 * 10**9, 4 * 10**9], places)

    found = scored(2)
    assert (found.kept, found.again, found.later) == (1.0, (1.0, 1.0, 1.0), 1.0)
    assert (found.identities, found.most, found.comebacks, found.wrong) == (3, 3, 1, 0.0)
    found = scored(4)
    assert found.again == (0.0, 0.0, 0.0)
    assert (found.kept, found.later) == (1.0, 2 / 3)
    assert (found.identities, found.comebacks) == (4, 0)
    assert scored(2, there_m=5.0).wrong == 1.0


@pytest.mark.skipif(
    not KITCHEN.exists(), reason='RGB-D frames are not beside the checkout (../shared/data/rgbd_kitchen)'
)
def test_places_bring_identities_back():
    done = run(str(KITCHEN), '--world', '--every', '10')
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith('│') and re.search(r'\d\.\d{3}', line)]
    cells = [[cell.strip() for cell in row.split('│')[1:-1]] for row in rows]
    assert [row[1] for row in cells] == ['with', 'without', 'objects'] * 2
    with_places, without, objects = cells[3:]
    assert float(with_places[8]) > 0.5 > float(without[8])  # out of sight for 3 s
    assert float(objects[8]) > 0.5
    assert float(with_places[10]) < 0.1
    assert float(objects[10]) < 0.1


def test_the_world_needs_frames():
    done = run('--world')
    assert done.returncode != 0
    assert '--world: expected FRAMES' in done.stderr
