"""Images faster than the node takes them: while one is cut, the next is prepared, and nothing else changes."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from skimage import data
from std_msgs.msg import Header

from diffcut_ros.core import Pipeline, Scene, SegmenterConfig
from diffcut_ros.features import create_extractor
from diffcut_ros.node.images import encode_image
from support.domain import free_domain

FILM = [np.ascontiguousarray(np.roll(data.coffee(), 4 * i, 1)[::2, ::2]) for i in range(40)]
STEP_NS = 10**8
TAUS = (0.3, 0.45, 0.6, 0.75, 0.9)


@pytest.fixture
def two_threads(monkeypatch):
    """On a machine with one core, too."""
    monkeypatch.setenv('OMP_NUM_THREADS', '2')


def stamp_ns(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def play(peer, wait_s: float, between=lambda _: None) -> None:
    """Publish the film and wait until its last image has come out."""
    for i, image in enumerate(FILM):
        stamp = (i + 1) * STEP_NS
        header = Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id='camera')
        peer.publish(encode_image(image, 'rgb8', header))
        peer.spin_until(lambda: False, wait_s)
        between(i)
    last = len(FILM) * STEP_NS
    assert peer.spin_until(lambda: any(stamp_ns(one) == last for one in peer.received['segments']))


def image_of(message) -> np.ndarray:
    dtype = np.uint8 if message.encoding == 'mono8' else np.uint16
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def test_images_come_out_as_one_after_the_other(start_node, connect, two_threads):
    """With damping and ids, which hang on the images before; those that were dropped are no part of it."""
    options = '-p', 'rate_hz:=0.0', '-p', 'damping:=0.2', '-p', 'color.cells:=24'
    with start_node(domain := free_domain(), *options) as node, connect(domain, topics=('labels', 'segments')) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()
        play(peer, 0.02)
        labels, segments = peer.received['labels'], peer.received['segments']
        stamps = [stamp_ns(one) for one in segments]
        assert len(stamps) > 3
        assert stamps == sorted(set(stamps))
        assert stamps == [stamp_ns(one) for one in labels]
        pipeline = Pipeline(create_extractor('color', cells=24), SegmenterConfig(damping=0.2))
        for stamp, image, found in zip(stamps, labels, segments, strict=True):
            expected = pipeline.process(Scene(FILM[stamp // STEP_NS - 1], stamp)).segmentation
            assert np.array_equal(image_of(image), expected.labels)
            assert [one.id for one in found.detections] == list(map(str, expected.segments.track_id))
        assert 'ERROR' not in node.log


def test_no_image_goes_back_to_a_tau_of_before(start_node, connect, two_threads):
    options = '-p', 'rate_hz:=0.0', '-p', f'tau:={TAUS[0]}', '-p', 'color.cells:=24'
    with start_node(domain := free_domain(), *options) as node, connect(domain, topics=('labels', 'segments')) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()
        step = len(FILM) // len(TAUS)
        play(peer, 0.02, lambda i: i % step or peer.set(tau=TAUS[i // step]))
        pipelines = [Pipeline(create_extractor('color', cells=24), SegmenterConfig(tau=tau)) for tau in TAUS]
        last_stamp = reached = 0
        for one in peer.received['labels']:
            stamp = stamp_ns(one)
            assert stamp >= last_stamp
            if stamp > last_stamp:
                scene = Scene(FILM[stamp // STEP_NS - 1], stamp)
                cuts = [pipeline.process(scene).segmentation.labels for pipeline in pipelines]
            same = [k for k, cut in enumerate(cuts) if np.array_equal(cut, image_of(one))]
            assert same, stamp
            assert max(same) >= reached, stamp
            reached, last_stamp = max(reached, min(same)), stamp
        assert reached > 0
        assert 'ERROR' not in node.log
