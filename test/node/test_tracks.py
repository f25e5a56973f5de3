"""Ids that persist from image to image, through the running node."""

import numpy as np
import pytest
from skimage import data

from diffcut_ros.core.parameters import parameters
from diffcut_ros.core.tracking import TrackerConfig
from diffcut_ros.node.images import decode_image, encode_image
from support.domain import free_domain
from support.scenes import quadrants

IMAGE = quadrants(64, 128)[0]
TOPICS = ('labels', 'segments', 'label_info', 'features', 'overlay')


@pytest.fixture(scope='module')
def tracking(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'rate_hz:=0.0') as node, connect(domain, topics=TOPICS) as peer:
        node.wait_for_log('waiting for images')
        yield peer


def array(message):
    dtype = {'mono8': np.uint8, 'mono16': np.uint16, '32FC1': np.float32}[message.encoding]
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def ids(outputs) -> list[int]:
    return [int(d.id) for d in outputs['segments'][-1].detections]


def test_the_same_thing_keeps_its_id_and_its_colour(tracking):
    _, one = tracking.segment(IMAGE)
    _, two = tracking.segment(np.roll(IMAGE, 4, axis=1))
    assert len(set(ids(one))) == 4
    assert set(ids(two)) >= set(ids(one))  # the strip that came in on the left may be one of its own
    colours = [decode_image(outputs['overlay'][-1]) for outputs in (one, two)]
    for y, x in ((10, 30), (10, 100), (50, 30), (50, 100)):
        assert np.array_equal(colours[0][y, x], colours[1][y, x])


def test_features_have_a_row_for_each_detection(tracking):
    header, outputs = tracking.segment(data.coffee())
    features = outputs['features'][-1]
    assert features.header == header
    assert (features.encoding, features.step, features.is_bigendian) == ('32FC1', 4 * features.width, 0)
    rows, detections = array(features), outputs['segments'][-1].detections
    assert len(rows) == len(detections) > 3
    # The score is the length of the mean of unit features.
    scores = [d.results[0].hypothesis.score for d in detections]
    assert np.allclose(np.linalg.norm(rows, axis=1), scores, atol=1e-4)


def test_labels_may_be_ids(tracking):
    peer = tracking
    header, outputs = peer.segment(data.coffee())
    before = array(outputs['labels'][-1])
    assert peer.set(labels='track').successful

    def by_id() -> bool:
        outputs = peer.outputs(header)
        values = [int(d.results[0].hypothesis.class_id) for d in outputs['segments'][-1].detections]
        named = {c.class_id for c in outputs['label_info'][-1].class_map}
        return outputs['labels'][-1].encoding == 'mono16' and values == ids(outputs) and named == {0, *values}

    assert peer.spin_until(by_id)
    outputs = peer.outputs(header)
    labels, detections = array(outputs['labels'][-1]), outputs['segments'][-1].detections
    by_label = {int(d.results[0].hypothesis.class_id) for d in detections}
    assert by_label == set(ids(outputs)) == set(np.unique(labels).tolist())
    assert by_label | {0} == {c.class_id for c in outputs['label_info'][-1].class_map}
    assert len(np.unique(np.stack([before.ravel(), labels.ravel()]), axis=1).T) == len(detections)  # the same segments
    assert peer.set(labels='frame').successful
    assert peer.spin_until(lambda: peer.outputs(header)['labels'][-1].encoding == 'mono8')


def test_a_new_cut_keeps_ids_and_time_that_jumps_back_gives_new_ones(tracking):
    peer = tracking
    assert peer.set(instances='segments').successful  # which a smaller tau merges, and nothing else
    header, outputs = peer.segment(data.coffee())
    first = ids(outputs)
    assert peer.set(tau=0.4).successful
    assert peer.spin_until(lambda: ids(peer.outputs(header)) != first)
    coarser = ids(peer.outputs(header))
    assert set(coarser) <= set(first)
    assert peer.set(tau=0.5).successful
    assert peer.spin_until(lambda: len(ids(peer.outputs(header))) == len(first))
    # Those that were merged come back.
    assert set(ids(peer.outputs(header))) == set(first)
    early = peer.header()
    early.stamp.sec = 5
    _, outputs = peer.exchange(encode_image(data.coffee(), 'rgb8', early))
    assert not set(ids(outputs)) & set(first)


def test_no_segments_and_hundreds(tracking):
    peer = tracking
    assert peer.set(min_segment_area=10_000_000).successful
    _, outputs = peer.segment(data.coffee())
    assert outputs['segments'][-1].detections == []
    assert not array(outputs['labels'][-1]).any()
    assert (outputs['features'][-1].height, len(outputs['features'][-1].data)) == (0, 0)
    assert peer.set(min_segment_area=0).successful
    assert peer.set(target_segments=500).successful
    _, outputs = peer.segment(data.coffee())
    assert peer.set(target_segments=0).successful
    detections = outputs['segments'][-1].detections
    assert len(detections) > 255
    assert outputs['labels'][-1].encoding == 'mono16'
    assert len({d.id for d in detections}) == len(array(outputs['features'][-1])) == len(detections)


def test_damping_acts(tracking):
    peer = tracking
    moved = np.roll(data.coffee(), 3, axis=1)
    _, plain = peer.segment(data.coffee()), peer.segment(moved)[1]
    assert peer.set(damping=0.3).successful
    _, damped = peer.segment(data.coffee()), peer.segment(moved)[1]
    assert peer.set(damping=0.0).successful
    assert not np.array_equal(array(plain['labels'][-1]), array(damped['labels'][-1]))


def test_tracking_parameters_act(tracking):
    peer = tracking
    assert all(info.live for _, info in parameters(TrackerConfig).values())
    _, one = peer.segment(IMAGE)
    assert peer.set(**{'tracking.max_age_s': 0.5}).successful  # stamps are a second apart
    _, two = peer.segment(IMAGE)
    assert peer.set(**{'tracking.max_age_s': 3.0}).successful
    assert not set(ids(one)) & set(ids(two))
