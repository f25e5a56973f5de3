"""Depth of recordings: raw and compressed, its scale, and the calibration by which it gives places."""

import cv2
import numpy as np
import pytest

from diffcut_ros.analysis import analyze
from diffcut_ros.analysis.main import main
from diffcut_ros.analysis.topics import Topics, find_topics
from diffcut_ros.recordings.bag import BagError, BagTopic
from support.depth import packed_depth, png, run_lengths
from support.recordings import (
    DEPTH,
    IMAGE,
    START_NS,
    STEP_NS,
    Recorder,
    depth_mm,
    header,
    image_message,
    info_message,
    moving_scene,
    packed_message,
)

PACKED = f'{DEPTH}/compressedDepth'


def film(path, topics, image=IMAGE, info=True, size_hw=(48, 64), **calibration):
    """Record two images with depth on some topics: name -> message of depth [H, W] in mm and a stamp."""
    with Recorder(path) as recorder:
        for index in range(2):
            stamp_ns = START_NS + index * STEP_NS
            recorder.write(image, image_message(moving_scene(index), 'rgb8', stamp_ns))
            if info:
                message = info_message(48, 64, stamp_ns, **calibration)
                message.height, message.width = size_hw
                recorder.write(f'{image.rpartition("/")[0]}/camera_info', message)
            for topic, message_of in topics.items():
                recorder.write(topic, message_of(depth_mm(index), stamp_ns))
    return path


def raw(depth, stamp_ns):
    return image_message(depth, '16UC1', stamp_ns)


def packed(pack=png, **options):
    def message_of(depth, stamp_ns):
        message = packed_depth(depth, pack, **options)
        return packed_message(bytes(message.data), message.format, stamp_ns)

    return message_of


def jpeg(depth, stamp_ns):
    return packed_message(cv2.imencode('.jpg', (depth >> 4).astype(np.uint8))[1].tobytes(), 'jpeg', stamp_ns)


def positions(results) -> np.ndarray:
    return np.array([geometry.position_m for result in results for geometry in result.geometries if geometry])


@pytest.mark.parametrize(
    ('topic', 'message_of'),
    [
        (PACKED, packed()),
        (PACKED, packed(run_lengths)),
        (f'{DEPTH}/compressed', packed(header=False)),
        ('/camera/depth', packed()),
    ],
)
def test_compressed_depth_is_found_and_gives_the_same(tmp_path, fast, topic, message_of):
    expected = positions(analyze(film(tmp_path / 'raw', {DEPTH: raw}), fast))
    results = list(analyze(film(tmp_path / 'film', {topic: message_of}), fast))
    assert len(results) == 2
    assert np.array_equal(positions(results), expected)


def test_camera_info_without_a_size_is_of_the_image(tmp_path, fast):
    recording = film(tmp_path / 'film', {DEPTH: raw}, size_hw=(0, 0))
    with pytest.warns(UserWarning, match="no width and height: the image's, 64 x 48"):
        found = positions(analyze(recording, fast))
    assert np.array_equal(found, positions(analyze(film(tmp_path / 'other', {DEPTH: raw}), fast)))


def test_counts_of_another_scale(tmp_path, fast, capsys):
    recordings = [film(tmp_path / 'raw', {DEPTH: raw}), film(tmp_path / 'packed', {PACKED: packed(run_lengths)})]
    expected = positions(analyze(recordings[0], fast))
    (tmp_path / 'own.yaml').write_text('/**:\n  ros__parameters: {color: {cells: 10}, depth_scale: 0.2}\n')
    for recording in recordings:
        assert np.allclose(positions(analyze(recording, fast, depth_scale=0.25)), expected / 4, atol=1e-5)
        assert np.allclose(positions(analyze(recording, params=tmp_path / 'own.yaml')), expected / 5, atol=1e-5)
    arguments = [str(recordings[0]), '-o', str(tmp_path / 'out'), '--csv', '--depth-scale', '0']
    with pytest.raises(SystemExit, match='2'):
        main(arguments)
    assert "--depth-scale: expected a number from 0.001 to 100, received '0'" in capsys.readouterr().err


def zdepth(depth, stamp_ns):
    return packed_message(bytes(range(1, 200)), '16UC1; zdepth', stamp_ns)


def test_depth_that_cannot_be_used_is_told_once_and_images_are_taken(tmp_path, fast):
    for name, topics, words in (
        ('jpeg', {f'{DEPTH}/compressed': jpeg}, f'depth on {DEPTH}/compressed is not used: they are JPEG'),
        ('other', {f'{DEPTH}/zdepth': zdepth}, f'depth on {DEPTH}/zdepth is not used: they are zdepth'),
        ('alone', {PACKED: packed()}, f'depth on {PACKED} is not used: there is no camera_info'),
    ):
        recording = film(tmp_path / name, topics, info=name != 'alone')
        with pytest.warns(UserWarning, match=words) as told:
            results = list(analyze(recording, fast))
        assert len(told) == 1
        assert len(results) == 2
        assert not len(positions(results))
    expected = f'--depth-topic: expected depth, received images of another kind on {DEPTH}/compressed: .*JPEG'
    with pytest.raises(BagError, match=expected):
        list(analyze(tmp_path / 'jpeg', fast, depth_topic=f'{DEPTH}/compressed'))


def test_the_camera_as_depth_is_refused_as_what_it_is(tmp_path, fast):
    """Not for lack of an image, which is taken for depth."""
    recording = film(tmp_path / 'film', {DEPTH: raw})
    expected = f"--depth-topic: expected depth, received images of another kind on {IMAGE}: their encoding is 'rgb8'"
    with pytest.raises(BagError, match=expected):
        list(analyze(recording, fast, depth_topic=IMAGE))


def test_of_several_topics_that_one_is_depth_which_holds_some(tmp_path, fast):
    def colors(depth, stamp_ns):
        return image_message(np.dstack([depth] * 3).astype(np.uint8), 'rgb8', stamp_ns)

    recording = film(tmp_path / 'film', {DEPTH: raw, '/camera/depth_colored': colors})
    assert len(positions(analyze(recording, fast)))


def names(**types):
    kinds = {'Image': 'sensor_msgs/msg/Image', 'Compressed': 'sensor_msgs/msg/CompressedImage'}
    kinds |= {'Info': 'sensor_msgs/msg/CameraInfo', 'Packet': 'theora_image_transport/msg/Packet'}
    return {name.replace('__', '/'): BagTopic(kinds[kind], 5) for name, kind in types.items()}


CAMERA = {'__a__image': 'Image', '__a__camera_info': 'Info'}


def test_one_depth_image_on_several_topics_is_one():
    every = {'__a__depth': 'Image', '__a__depth__compressedDepth': 'Compressed', '__a__depth__compressed': 'Compressed'}
    assert find_topics(names(**CAMERA, **every)) == Topics('/a/image', '/a/camera_info', '/a/depth')
    for transport in ('compressedDepth', 'compressed'):
        found = find_topics(names(**CAMERA, **every), depth_transport=transport)
        assert found.depth == f'/a/depth/{transport}'
    del every['__a__depth']
    assert find_topics(names(**CAMERA, **every)).depth == '/a/depth/compressedDepth'
    # Registered depth goes first, raw or not; else raw.
    aligned = {'__a__depth': 'Image', '__a__aligned_depth__compressedDepth': 'Compressed'}
    assert find_topics(names(**CAMERA, **aligned)).depth == '/a/aligned_depth/compressedDepth'
    other = {'__a__depth': 'Image', '__a__depth2__compressedDepth': 'Compressed'}
    assert find_topics(names(**CAMERA, **other)).depth == '/a/depth'


def test_depth_of_another_type_is_told():
    found = find_topics(names(**CAMERA, __a__depth__theora='Packet'))
    assert found.depth is None
    assert '/a/depth/theora (theora_image_transport/msg/Packet) is not used: expected sensor_msgs/msg/Im' in found.note
    assert not find_topics(names(**CAMERA)).note
    assert not find_topics(names(**CAMERA, __a__depth__theora='Packet'), with_depth=False).note


RECTIFIED = '/camera/image_rect'


def test_positions_follow_k_unless_the_image_is_rectified(tmp_path, fast):
    depth = {DEPTH: raw}
    expected = positions(analyze(film(tmp_path / 'plain', depth), fast))
    # P of half the focal length: twice as far from the axis.
    by_p = expected * (2, 2, 1)
    with pytest.warns(UserWarning, match='positions by K of camera_info, without distortion: neither') as told:
        found = positions(analyze(film(tmp_path / 'raw', depth, focal_p=30), fast))
    assert len(told) == 1
    assert np.allclose(found, expected, atol=1e-5)
    rectified = film(tmp_path / 'rectified', depth, image=RECTIFIED, focal_p=30, d=(-0.3, 0.1, 0, 0, 0))
    assert np.allclose(positions(analyze(rectified, fast)), by_p, atol=1e-4)
    (tmp_path / 'k.yaml').write_text('/**:\n  ros__parameters: {color: {cells: 10}, calibration: P}\n')
    assert np.allclose(positions(analyze(tmp_path / 'raw', params=tmp_path / 'k.yaml')), by_p, atol=1e-4)
    # Barrel distortion: what is seen off the axis is further out than it seems.
    with pytest.warns(UserWarning, match=r'with its distortion \(plumb_bob\)'):
        bent = positions(analyze(film(tmp_path / 'lens', depth, d=(-0.3, 0.1, 0, 0, 0)), fast))
    far_out = np.abs(expected[:, 0] / expected[:, 2]) > 0.2
    assert far_out.any()
    assert (np.abs(bent[far_out, 0]) > 1.005 * np.abs(expected[far_out, 0])).all()
    assert np.allclose(bent[:, 2], expected[:, 2], atol=1e-4)


def test_frames_with_and_without_a_slash_are_one(tmp_path, fast, recwarn):
    def of_ros1(depth, stamp_ns):
        message = raw(depth, stamp_ns)
        message.header = header(stamp_ns, frame_id='/camera_optical')
        return message

    assert len(positions(analyze(film(tmp_path / 'film', {DEPTH: of_ros1}), fast)))
    assert not [warning for warning in recwarn if 'frame' in str(warning.message)]
