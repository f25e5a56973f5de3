"""Segments in space, through the running node."""

import copy
import math
import re

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header

from diffcut_ros.node.images import encode_image
from support.depth import packed_depth, png, run_lengths
from support.domain import free_domain
from support.peer import OUTPUTS
from support.space import DISTANCE_M, IMAGE, QUADRANT, RELIABLE, camera_info, depth_of, points_of, position

# Outputs that come with each image.
TOPICS = (*OUTPUTS, 'features', 'segments_3d', 'points', 'markers')


@pytest.fixture(scope='module')
def space(start_node, connect):
    domain = free_domain()
    options = ['-p', 'depth:=true', '-p', 'rate_hz:=0.0']
    for topic in ('camera_info', 'depth'):
        options += ['-p', RELIABLE.format(topic)]
    topics = TOPICS
    with start_node(domain, *options) as node, connect(domain, topics=topics) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()
        yield node, peer


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_positions_boxes_points_and_markers(space, encoding):
    _, peer = space
    header, outputs = peer.exchange_depth(IMAGE, depth_of(DISTANCE_M[QUADRANT], encoding), camera_info())
    flat, solid = outputs['segments'][0].detections, outputs['segments_3d'][0].detections
    assert len(flat) == len(solid) == 4
    labels = np.frombuffer(outputs['labels'][0].data, np.uint8).reshape(64, 128)
    rows, columns = np.mgrid[:64, :128]
    for detection, mate in zip(flat, solid, strict=True):
        assert mate.header == header
        assert (detection.id, detection.results[0].hypothesis.class_id) == (
            mate.id,
            mate.results[0].hypothesis.class_id,
        )
        inside = labels == int(mate.results[0].hypothesis.class_id)
        (z,) = np.unique(DISTANCE_M[QUADRANT[inside]])
        expected = [(np.median(columns[inside]) - 63.5) * z / 100, (np.median(rows[inside]) - 31.5) * z / 100, z]
        assert np.allclose(position(mate), expected, atol=2e-3)
        assert np.allclose(position(detection), position(mate))
        assert abs(mate.bbox.size.x - (np.ptp(columns[inside]) * z / 100)) < 0.02 * z
        assert mate.bbox.size.z < 1e-3
        assert mate.results[0].hypothesis.score == 1.0

    cloud = outputs['points'][0]
    assert (cloud.header, cloud.height, cloud.width, cloud.is_dense) == (header, 1, 64 * 128, True)
    points = points_of(cloud).reshape(64, 128)
    assert np.allclose(points['z'], DISTANCE_M[QUADRANT], atol=1e-3)
    assert np.array_equal(points['label'], labels)
    id_of = {int(d.results[0].hypothesis.class_id): int(d.id) for d in flat}
    assert np.array_equal(points['id'], np.vectorize(id_of.get)(labels))

    shown = outputs['markers'][0].markers
    texts = {marker.text for marker in shown if marker.ns == 'ids'}
    assert texts == {d.id for d in flat}
    assert {marker.ns for marker in shown[1:]} == {'boxes', 'centroids', 'ids'}


def exchange_without_camera_info(peer):
    def publish(header: Header) -> None:
        depth = depth_of(DISTANCE_M[QUADRANT])
        depth.header = header
        peer.depth.publish(depth)
        peer.publish(encode_image(IMAGE, 'rgb8', header))

    return peer._exchange(publish, peer.header())


@pytest.mark.parametrize('stamp_ns', [0, 10**9])
def test_the_last_camera_info_holds_whatever_its_stamp(start_node, connect, stamp_ns):
    domain = free_domain()
    topics = TOPICS
    options = ['-p', 'depth:=true', '-p', 'rate_hz:=0.0', '-p', RELIABLE.format('depth')]
    with start_node(domain, *options) as node, connect(domain, topics=topics) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()
        # What came before it, waits for it.
        header = peer.header()
        depth = depth_of(DISTANCE_M[QUADRANT])
        depth.header = header
        peer.depth.publish(depth)
        peer.publish(encode_image(IMAGE, 'rgb8', header))
        assert not peer.spin_until(lambda: peer.outputs(header)['segments_3d'], 1.0)
        info = camera_info()
        info.header.stamp.sec, info.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        peer.camera_info.publish(info)
        assert peer.spin_until(lambda: peer.outputs(header)['segments_3d'])
        widths = [detection.bbox.size.x for detection in peer.outputs(header)['segments_3d'][0].detections]
        for _ in range(3):
            _, outputs = exchange_without_camera_info(peer)
            assert len(outputs['segments_3d'][0].detections) == 4
        # It is not missed, though it does not come again.
        assert not peer.spin_until(lambda: 'camera_info' in node.log.split('waiting for images')[1][60:], 7.0)
        info = camera_info(focal=200.0)
        info.header.stamp.sec, info.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        peer.camera_info.publish(info)
        node.wait_for_log('/camera_info: the calibration has changed')
        _, outputs = exchange_without_camera_info(peer)
        halves = [detection.bbox.size.x for detection in outputs['segments_3d'][0].detections]
        assert np.allclose(halves, np.array(widths) / 2, rtol=0.1)


def test_a_new_tau_is_shown_in_space_too(space):
    _, peer = space
    header, outputs = peer.exchange_depth(IMAGE, depth_of(DISTANCE_M[QUADRANT]), camera_info())
    assert len(outputs['segments_3d'][0].detections) == 4
    assert peer.set(tau=0.0).successful
    assert peer.spin_until(lambda: len(peer.outputs(header)['segments_3d'][-1].detections) == 1)
    assert peer.set(tau=0.5).successful
    assert peer.spin_until(lambda: len(peer.outputs(header)['segments_3d'][-1].detections) == 4)


def test_organized_points_have_the_pixels_of_the_image(space):
    _, peer = space
    assert peer.set(**{'points.organized': True}).successful
    depth_m = DISTANCE_M[QUADRANT[::2, ::2]]  # half the size
    depth_m[:5] = 0
    _, outputs = peer.exchange_depth(IMAGE, depth_of(depth_m), camera_info())
    assert peer.set(**{'points.organized': False}).successful
    cloud = outputs['points'][-1]
    assert (cloud.height, cloud.width, cloud.is_dense) == (64, 128, False)
    points = points_of(cloud)
    assert np.isnan(points['z'][:10]).all()
    assert np.allclose(points['z'][10:], depth_m.repeat(2, 0).repeat(2, 1)[10:])
    assert np.isclose(points['x'][-1, -1] / points['z'][-1, -1], (127 - 63.5) / 100, atol=1e-5)


@pytest.mark.parametrize('missing', [0.0, np.nan])
def test_a_segment_without_depth_is_in_the_image_only(space, missing):
    _, peer = space
    depth_m = np.where(QUADRANT == 2, missing, DISTANCE_M[QUADRANT])
    header, outputs = peer.exchange_depth(IMAGE, depth_of(depth_m, '32FC1'), camera_info())
    assert len(outputs['segments'][0].detections) == 4
    assert len(outputs['segments_3d'][0].detections) == 3
    assert outputs['points'][0].width == 64 * 128 * 3 // 4
    header, outputs = peer.exchange_depth(IMAGE, depth_of(np.full((64, 128), missing), '32FC1'), camera_info())
    assert len(outputs['segments'][0].detections) == 4
    assert outputs['segments_3d'][0].detections == []
    assert outputs['points'][0].width == 0
    assert len(outputs['markers'][0].markers) == 1
    assert header


def nonsense(**k) -> CameraInfo:
    info = camera_info()
    info.k = [k.get(f'k{index}', value) for index, value in enumerate(info.k)]
    info.p = [0.0] * 12
    return info


@pytest.mark.parametrize(
    ('info', 'problem'),
    [
        (camera_info(focal=0.0), 'expected focal lengths above 0 px, received 0 and 0'),
        (camera_info(width=128, height=96), 'camera_info of 128 x 96 for an image of'),
        (nonsense(k0=1e-40), 'fx 1e-40'),
        (nonsense(k4=1e40), r'fy 1e\+40'),
        (nonsense(k2=1e300), r'cx 1e\+300'),
        (nonsense(k0=math.nan), 'received'),
        (nonsense(k5=math.inf), 'inf'),
    ],
)
def test_a_camera_info_that_no_camera_has_costs_positions_not_labels(space, info, problem):
    """More often in a row than failures are allowed: it is none of the pipeline."""
    node, peer = space
    for _ in range(12):
        _, outputs = peer.exchange_depth(IMAGE, depth_of(DISTANCE_M[QUADRANT]), copy.deepcopy(info))
        assert len(outputs['segments'][0].detections) == 4
        assert outputs['segments_3d'][0].detections == []
        assert outputs['points'][0].width == 0
    # The log has it once in a minute, whatever the numbers are.
    assert node.log.count('/image: no positions in space: ') >= 1
    _, _, values = peer.diagnostics(
        level=DiagnosticStatus.WARN, told=lambda text, _: bool(re.search(f'^no positions in space: .*{problem}', text))
    )
    assert values['failed'] == values['rejected'] == '0'
    _, outputs = peer.exchange_depth(IMAGE, depth_of(DISTANCE_M[QUADRANT]), camera_info())
    assert len(outputs['segments_3d'][0].detections) == 4
    assert node.log.count('no positions in space: ') < 12
    assert 'Traceback' not in node.log


def test_depth_of_another_size_is_told_and_the_next_image_is_segmented(space):
    node, peer = space
    info, depth = camera_info(), depth_of(np.ones((64, 64)))
    header = info.header = depth.header = peer.header()
    peer.camera_info.publish(info)
    peer.depth.publish(depth)
    peer.publish(encode_image(IMAGE, 'rgb8', header))
    problem = 'depth of 64 x 64 for an image of 128 x 64: expected the same'
    assert peer.spin_until(lambda: problem in node.log)
    peer.exchange_depth(IMAGE, depth_of(DISTANCE_M[QUADRANT]), camera_info())
    assert not any(peer.outputs(header).values())
    assert 'Traceback' not in node.log


def test_stamps_that_are_none_kill_nothing(space):
    node, peer = space
    for sec, nanosec in ((-5, 0), (-1, 2 * 10**9), (2**31 - 1, 2**32 - 1), (-(2**31), 5), (0, 0)):
        depth, image = depth_of(DISTANCE_M[QUADRANT]), encode_image(IMAGE, 'rgb8', peer.header())
        for message in (depth, image):
            message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
        peer.depth.publish(depth)
        peer.publish(image)
    _, outputs = peer.exchange_depth(IMAGE, depth_of(DISTANCE_M[QUADRANT]), camera_info())
    assert len(outputs['segments_3d'][0].detections) == 4
    assert 'Traceback' not in node.log


def test_depth_of_another_frame_is_told(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'depth:=true', '-p', 'rate_hz:=0.0') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')

        def publish() -> None:
            header, depth, info = peer.header(), depth_of(DISTANCE_M[QUADRANT]), camera_info()
            depth.header.stamp, depth.header.frame_id, info.header = header.stamp, 'camera_depth_optical', header
            peer.camera_info.publish(info)
            peer.depth.publish(depth)
            peer.publish(encode_image(IMAGE, 'rgb8', header))
            peer.spin_until(lambda: False, 0.1)

        peer.diagnostics(told=lambda _, values: int(values['published']) > 3, meanwhile=publish)
        assert node.log.count("depth is in frame 'camera_depth_optical', the image in 'camera_optical'") == 1


def test_compressed_depth_and_its_scale(start_node, connect):
    domain = free_domain()
    options = ['-p', 'depth:=true', '-p', 'rate_hz:=0.0', '-p', 'depth_transport:=compressedDepth']
    options += ['-r', 'depth:=/cam/depth', '-p', RELIABLE.format('camera_info')]
    options += ['-p', RELIABLE.format('cam/depth/compressedDepth')]
    with start_node(domain, *options) as node, connect(domain, topics=TOPICS) as peer:
        # As image_transport does: the transport's name follows the remapped topic.
        node.wait_for_log('waiting for images on /image, /camera_info, /cam/depth/compressedDepth')
        peer.depth = peer.publisher(CompressedImage, '/cam/depth/compressedDepth', 1)
        peer.wait_until_met()
        counts = (1000 * DISTANCE_M[QUADRANT]).astype(np.uint16)
        for depth in (packed_depth(counts), packed_depth(counts, run_lengths), packed_depth(counts / 1000)):
            _, outputs = peer.exchange_depth(IMAGE, depth, camera_info())
            found = sorted(position(one)[2] for one in outputs['segments_3d'][0].detections)
            assert np.allclose(found, DISTANCE_M, atol=0.01)
        assert peer.set(depth_scale=0.25).successful
        _, outputs = peer.exchange_depth(IMAGE, packed_depth(counts), camera_info())
        found = sorted(position(one)[2] for one in outputs['segments_3d'][0].detections)
        assert np.allclose(found, DISTANCE_M / 4, atol=0.001)
        assert not peer.set(depth_scale=0.0).successful
        # Of another size, and what is no depth.
        for depth, problem in (
            (packed_depth(counts[:32]), 'depth of 128 x 32 for an image of 128 x 64: expected the same aspect'),
            (packed_depth(counts, lambda _: png(counts)[:-20]), 'depth: .*: the image is cut off'),
            (CompressedImage(format='jpeg', data=b'\xff\xd8\xff\xe0'), 'they are JPEG, which changes depth'),
        ):
            info = camera_info()
            info.header = depth.header = header = peer.header()
            peer.camera_info.publish(info)
            peer.depth.publish(depth)
            peer.publish(encode_image(IMAGE, 'rgb8', header))
            assert peer.spin_until(lambda problem=problem: re.search(problem, node.log)), node.log
        peer.exchange_depth(IMAGE, packed_depth(counts), camera_info())
        assert 'Traceback' not in node.log


def test_a_raw_image_follows_k_and_its_distortion(start_node, connect):
    domain = free_domain()
    options = ['-p', 'depth:=true', '-p', 'rate_hz:=0.0']
    for topic in ('camera_info', 'depth'):
        options += ['-p', RELIABLE.format(topic)]
    with start_node(domain, *options) as node, connect(domain, topics=TOPICS) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()
        info = camera_info()
        info.p[0] = info.p[5] = 50.0
        info.distortion_model, info.d = 'plumb_bob', [-0.2, 0.0, 0.0, 0.0, 0.0]
        depth = depth_of(np.ones((64, 128)))

        def corner() -> tuple[float, float]:
            """Where the last pixel is, of a cloud with all pixels."""
            _, outputs = peer.exchange_depth(IMAGE, depth, info)
            points = points_of(outputs['points'][-1])
            return points['x'][0, -1], points['y'][0, -1]

        lens = np.array([-0.2, 0.0, 0.0, 0.0, 0.0])
        bent = np.array([[[63.5, 31.5]]]) / 100
        expected = cv2.undistortPoints(bent, np.eye(3), lens)[0, 0]
        for _ in range(3):
            assert np.allclose(corner(), expected, atol=2e-3)
        assert node.log.count('positions by K of camera_info, with its distortion (plumb_bob)') == 1
        assert peer.set(calibration='P').successful
        assert np.allclose(corner(), (63.5 / 50, 31.5 / 50), atol=1e-4)
        assert peer.set(calibration='auto').successful
        # As a ROS 1 driver names it.
        header = peer.header()
        header.frame_id = 'camera_optical'
        told = node.log.count('depth is in frame')
        depth.header, info.header = Header(stamp=header.stamp, frame_id='/camera_optical'), header
        peer.camera_info.publish(info)
        peer.depth.publish(depth)
        peer.publish(encode_image(IMAGE, 'rgb8', header))
        assert peer.spin_until(lambda: all(peer.outputs(header).values()))
        assert node.log.count('depth is in frame') == told == 0


def test_without_depth_there_are_no_topics_in_space(running):
    _, peer, _ = running
    assert peer.spin_until(lambda: peer.publisher_infos('/diffcut/features'))
    for topic in ('segments_3d', 'points', 'markers'):
        assert not peer.publisher_infos(f'/diffcut/{topic}')
