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
FLAT = np.full_like(FILM[0], 127)
START_NS, STEP_NS = 5000 * 10**9, 10**8
TAUS = (0.3, 0.45, 0.6, 0.75, 0.9)


@pytest.fixture
def two_threads(monkeypatch):
    """On a machine with one core, too."""
    monkeypatch.setenv('OMP_NUM_THREADS', '2')


def stamp_ns(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def play(peer, between=lambda _: None) -> list[list]:
    """Publish the film, wait until its last image has come out, and return its labels and segments."""
    peer.segment(FLAT)  # whose track ends in the time between
    for i, image in enumerate(FILM):
        stamp = START_NS + i * STEP_NS
        header = Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id='camera')
        peer.publish(encode_image(image, 'rgb8', header))
        peer.spin_until(lambda: False, 0.02)
        between(i)
    both = [peer.received[topic] for topic in ('labels', 'segments')]
    assert peer.spin_until(lambda: all(any(stamp_ns(one) == stamp for one in messages) for messages in both))
    return [[one for one in messages if stamp_ns(one) >= START_NS] for messages in both]


def scene_of(stamp: int) -> Scene:
    return Scene(FILM[(stamp - START_NS) // STEP_NS], stamp)


def image_of(message) -> np.ndarray:
    dtype = np.uint8 if message.encoding == 'mono8' else np.uint16
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def test_images_come_out_as_one_after_the_other(start_node, connect, two_threads):
    """With damping and ids, which hang on the images before; those that were dropped are no part of it."""
    options = '-p', 'rate_hz:=0.0', '-p', 'damping:=0.2', '-p', 'color.cells:=24'
    with start_node(domain := free_domain(), *options) as node, connect(domain, topics=('labels', 'segments')) as peer:
        labels, segments = play(peer)
        stamps = [stamp_ns(one) for one in segments]
        assert len(stamps) > 3
        assert stamps == sorted(set(stamps))
        assert stamps == [stamp_ns(one) for one in labels]
        pipeline = Pipeline(create_extractor('color', cells=24), SegmenterConfig(damping=0.2))
        pipeline.process(Scene(FLAT))
        for stamp, image, found in zip(stamps, labels, segments, strict=True):
            expected = pipeline.process(scene_of(stamp)).segmentation
            assert np.array_equal(image_of(image), expected.labels)
            assert [one.id for one in found.detections] == list(map(str, expected.segments.track_id))
        assert 'ERROR' not in node.log


def test_no_image_goes_back_to_a_tau_of_before(start_node, connect, two_threads):
    options = '-p', 'rate_hz:=0.0', '-p', f'tau:={TAUS[0]}', '-p', 'color.cells:=24'
    with start_node(domain := free_domain(), *options) as node, connect(domain, topics=('labels', 'segments')) as peer:
        step = len(FILM) // len(TAUS)
        labels, _ = play(peer, lambda i: i % step or peer.set(tau=TAUS[i // step]))
        pipelines = [Pipeline(create_extractor('color', cells=24), SegmenterConfig(tau=tau)) for tau in TAUS]
        last_stamp = reached = 0
        for one in labels:
            stamp = stamp_ns(one)
            assert stamp >= last_stamp
            if stamp > last_stamp:
                cuts = [pipeline.process(scene_of(stamp)).segmentation.labels for pipeline in pipelines]
            same = [k for k, cut in enumerate(cuts) if np.array_equal(cut, image_of(one))]
            assert same, stamp
            assert max(same) >= reached, stamp
            reached, last_stamp = max(reached, min(same)), stamp
        assert reached > 0
        assert 'ERROR' not in node.log
