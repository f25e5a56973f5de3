import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffcut_ros.arguments.benchmark import parse
from diffcut_ros.benchmarks import depth, rgbd
from diffcut_ros.benchmarks.rgbd import RgbdFrame
from diffcut_ros.core import PinholeCamera, Segmenter, SegmenterConfig, Tracker, locate_segments
from diffcut_ros.features import create_extractor
from support.rgbd import moved, segmented, wall, write_recording
from support.scenes import quadrants

KITCHEN = Path(__file__).parents[3] / 'shared' / 'data' / 'rgbd_kitchen'
CAMERA = PinholeCamera(100.0, 100.0, 47.5, 31.5, (64, 96))
COMMAND = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'depth']


def tracks_of(segmentations):
    tracker = Tracker()
    return [tracker.update(segmentation, i * 10**8) for i, segmentation in enumerate(segmentations)]


def test_pixels_are_carried_along():
    labels = quadrants(64, 96)[1] + 1
    carried = depth.carry(labels, wall(0.0), wall(0.1), CAMERA)
    assert np.array_equal(carried[:, :91], labels[:, 5:])
    assert not carried[:, 91:].any()


def test_the_nearest_pixel_is_seen():
    labels = np.full((64, 96), 1)
    labels[20:40, 40:50] = 2
    depth_m = np.where(labels == 2, 1.0, 2.0).astype(np.float32)
    frame = RgbdFrame(np.zeros((64, 96, 3), np.uint8), depth_m, moved(0.0))
    carried = depth.carry(labels, frame, wall(0.1), CAMERA)
    # The near patch goes 10 pixels, the wall 5; where the patch was, it hides nothing known.
    assert (carried[20:40, 30:40] == 2).all()
    assert np.count_nonzero(carried == 2) == 200
    assert (carried[20:40, 40:45] == 0).all()


def test_a_still_scene_does_not_drift():
    frames = [wall(0.02 * i) for i in range(4)]
    labels = quadrants(64, 96)[1]
    # The borders of the painting move by a pixel per frame.
    segmentations = [segmented(2 * (labels // 2) + (np.arange(96) >= 48 - i)) for i in range(4)]
    geometries = [locate_segments(s.labels, f.depth_m, CAMERA, 4) for s, f in zip(segmentations, frames, strict=True)]
    drifts = depth.carried_drifts(segmentations, geometries, frames, CAMERA, 1)
    assert len(drifts) == 3 * 4
    # What enters or leaves at the image's sides moves a median by half a pixel of 0.02 m.
    assert max(drifts) <= 0.011
    tracked = tracks_of(segmentations)
    assert len({tuple(t.segments.track_id) for t in tracked}) == 1
    tracks = depth.world_positions(tracked, geometries, frames)
    assert [positions.shape for positions in tracks.values()] == 4 * [(4, 3)]
    for positions in tracks.values():
        assert positions[:, 2] == pytest.approx(2.0)
        assert max(depth.step_lengths_m(positions)) <= 0.011


def test_segments_that_leave_the_view_are_left_out():
    labels = quadrants(64, 96)[1]
    frames = [wall(0.0), wall(0.2)]  # 10 of the left quadrants' 48 columns leave
    geometries = [locate_segments(segmented(labels).labels, f.depth_m, CAMERA, 4) for f in frames]
    drifts = depth.carried_drifts([segmented(labels)] * 2, geometries, frames, CAMERA, 1)
    assert drifts == pytest.approx([0, 0], abs=1e-3)


def test_a_wrong_pose_shows_as_drift():
    frames = [wall(0.0), RgbdFrame(wall(0.0).image_rgb, wall(0.0).depth_m, moved(0.3))]
    segmentation = segmented(quadrants(64, 96)[1])
    geometries = [locate_segments(segmentation.labels, f.depth_m, CAMERA, 4) for f in frames]
    tracked = tracks_of([segmentation] * 2)
    for positions in depth.world_positions(tracked, geometries, frames).values():
        assert depth.step_lengths_m(positions) == pytest.approx([0.3])


def test_wholly_in_view():
    labels = np.zeros((64, 96), int)
    labels[10:20, 10:20] = 1
    labels[30:40, 0:10] = 2
    labels[63, 50] = 3
    segmentation = segmented(labels)
    located = depth.wholly_in_view(segmentation, ['background', 'inside', 'left', 'bottom'])
    assert located == [None, 'inside', None, None]


def test_deviations():
    positions = np.array([[0, 0, 1], [0, 0, 1], [3, 4, 1]], float)
    assert depth.deviations_m(positions).tolist() == [0, 0, 5]
    assert depth.step_lengths_m(positions) == [0, 5]


def test_a_recording_is_read(tmp_path):
    write_recording(tmp_path / 'r', 2)
    paths = rgbd.frame_paths(tmp_path / 'r')
    frame = rgbd.load_frame(paths[1])
    assert rgbd.load_camera(tmp_path / 'r', (64, 96)) == CAMERA
    assert np.array_equal(frame.image_rgb, wall(0.02).image_rgb)
    assert np.isnan(frame.depth_m[0, :2]).all()
    assert (frame.depth_m[1:] == 2).all()
    assert np.array_equal(frame.pose, moved(0.02))


def test_the_command_prints_a_table(tmp_path):
    write_recording(tmp_path / 'r', 6)
    done = subprocess.run([*COMMAND, str(tmp_path / 'r')], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 'drift of positions: 6 frames, color, tau 0.5, damping 0' in done.stdout
    assert 'a track, from frame to frame' in done.stdout
    assert 'wholly in view, largest distance' in done.stdout


def test_bad_input_is_one_line(tmp_path):
    done = subprocess.run([*COMMAND, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert 'expected frame-N.color.jpg, .depth.png and .pose.txt, found none' in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    ('name', 'damage', 'expected'),
    [
        ('000002.depth.png', lambda data: data[: len(data) // 2], 'expected an image, cannot read it'),
        ('000002.color.jpg', lambda data: data[: len(data) // 2], 'expected an image, cannot read it'),
        ('000002.color.jpg', lambda _: b'', 'expected an image, cannot read it'),
        ('000003.pose.txt', lambda _: b'1 0 0 0\n0 1 0\n0 0 1 0\n0 0 0 1\n', 'expected 4 rows of 4 numbers'),
        ('000003.pose.txt', lambda _: b'a b c d\n' * 4, 'expected 4 rows of 4 numbers'),
        ('000003.pose.txt', lambda _: b'nan 0 0 0\n' * 4, 'expected 4 rows of 4 finite numbers'),
        ('000003.pose.txt', lambda _: b'1 0 0\n' * 3, 'received the shape (3, 3)'),
        ('000003.pose.txt', lambda _: b'', 'expected 4 rows of 4'),
        ('000003.pose.txt', None, 'expected this file beside the frames, found none'),
        ('000001.depth.png', lambda _: picture(np.zeros((64, 96, 3), np.uint8)), 'expected one channel of 16 bits'),
        ('000001.depth.png', lambda _: picture(np.zeros((32, 48), np.uint16)), 'expected 96 x 64 px'),
        ('000001.color.jpg', lambda _: picture(np.zeros((32, 48, 3), np.uint8)), 'expected 96 x 64 px'),
        ('intrinsics', lambda _: b'0 0 47\n0 0 31\n0 0 1\n', 'expected focal lengths above 0'),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, damage, expected):
    write_recording(tmp_path / 'r', 4)
    path = tmp_path / 'r' / ('camera-intrinsics.txt' if name == 'intrinsics' else f'frame-{name}')
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))

    def read_all():
        size_hw = (64, 96)
        rgbd.load_camera(tmp_path / 'r', size_hw)
        for color in rgbd.frame_paths(tmp_path / 'r'):
            rgbd.load_frame(color, size_hw)

    with pytest.raises(ValueError, match=re.escape(f'{path}: ')) as error:
        read_all()
    assert expected in str(error.value)


def picture(pixels: np.ndarray) -> bytes:
    return cv2.imencode('.png', pixels)[1].tobytes()


def test_progress_in_a_pipe(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('diffcut_ros.progress.LINE_S', 0.01)
    write_recording(tmp_path / 'r', 6)
    depth.run(parse(['depth', str(tmp_path / 'r'), '--limit', '4']))
    printed, errors = capsys.readouterr()
    assert re.search(r'^segmenting [1-4]/4 .* left$', errors, re.MULTILINE)
    assert 'segmenting' not in printed


@pytest.mark.skipif(not KITCHEN.exists(), reason='no RGB-D frames beside the checkout (../shared/data/rgbd_kitchen)')
def test_real_segments_stay_in_their_place():
    paths = rgbd.frame_paths(KITCHEN)[:21:10]
    frames = [rgbd.load_frame(path) for path in paths]
    camera = rgbd.load_camera(KITCHEN, frames[0].depth_m.shape)
    segmenter = Segmenter(create_extractor('color', device='cpu'), SegmenterConfig(tau=0.7, min_segment_area=100))
    segmentations = [segmenter.segment(frame.image_rgb) for frame in frames]
    geometries = [
        locate_segments(s.labels, f.depth_m, camera, len(s.segments))
        for s, f in zip(segmentations, frames, strict=True)
    ]
    assert np.mean([g is not None for located in geometries for g in located]) > 0.9
    # Two steps of a third of a second.
    drifts = depth.carried_drifts(segmentations, geometries, frames, camera, 1)
    assert len(drifts) > 10
    assert np.mean(np.array(drifts) < depth.LIMIT_M) >= 0.9
