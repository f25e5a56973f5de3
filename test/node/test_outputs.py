import numpy as np
import pytest
from skimage import data

from diffcut_ros.node.images import decode_image
from support.scenes import quadrants


def array(message) -> np.ndarray:
    dtype = {'mono8': np.uint8, 'mono16': np.uint16}[message.encoding]
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def boxes(detections) -> list[tuple[float, float, float, float]]:
    centers = [(d.bbox.center.position, d.bbox.size_x, d.bbox.size_y) for d in detections]
    return [(c.x - w / 2, c.y - h / 2, c.x + w / 2, c.y + h / 2) for c, w, h in centers]


@pytest.fixture(scope='module')
def photograph(running):
    """A photograph's header and outputs."""
    return running[1].segment(data.coffee())


def test_every_output_carries_the_header_of_the_image(photograph):
    header, outputs = photograph
    for messages in outputs.values():
        assert messages[0].header == header
    assert all(d.header == header for d in outputs['segments'][0].detections)


def test_label_image_has_the_size_of_the_image(photograph):
    labels = photograph[1]['labels'][0]
    assert (labels.height, labels.width, labels.step) == (400, 600, 600)
    assert (labels.encoding, labels.is_bigendian, len(labels.data)) == ('mono8', 0, 400 * 600)


def test_one_detection_per_label(photograph):
    _, outputs = photograph
    values = np.unique(array(outputs['labels'][0]))
    detections = outputs['segments'][0].detections
    assert len(values) > 1
    assert [int(d.results[0].hypothesis.class_id) for d in detections] == values.tolist()
    assert values.tolist() == list(range(1, len(values) + 1))
    assert all(0 <= d.results[0].hypothesis.score <= 1 for d in detections)


def test_boxes_hold_exactly_their_pixels(photograph):
    _, outputs = photograph
    labels = array(outputs['labels'][0])
    for label, box in enumerate(boxes(outputs['segments'][0].detections), start=1):
        rows, columns = np.nonzero(labels == label)
        assert box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_label_info_names_every_value(photograph):
    _, outputs = photograph
    named = {c.class_id: c.class_name for c in outputs['label_info'][0].class_map}
    assert named.keys() == {0, *np.unique(array(outputs['labels'][0]))}
    assert named[0] == 'none'
    assert named[1] == 'segment 1'


def test_overlay_is_a_picture_of_the_image(photograph):
    overlay = photograph[1]['overlay'][0]
    assert (overlay.encoding, overlay.height, overlay.width, overlay.step) == ('rgb8', 400, 600, 1800)
    # Half colour, half image: it resembles the image, and it is not the image.
    difference = np.abs(decode_image(overlay).astype(int) - data.coffee())
    assert 10 < difference.mean() < 128


def test_a_late_joiner_gets_label_info(running, connect, photograph):
    _, peer, domain = running
    with connect(domain, 'late') as late:
        assert late.spin_until(lambda: late.received['label_info'])
        assert late.received['label_info'][0] == peer.received['label_info'][-1]
        assert not late.received['labels']


@pytest.mark.parametrize('shape', [(1, 1), (1, 40), (33, 2), (480, 640)])
def test_any_size(running, shape):
    _, outputs = running[1].segment(np.full((*shape, 3), 100, np.uint8))
    assert array(outputs['labels'][0]).shape == shape
    assert np.unique(array(outputs['labels'][0])).tolist() == [1]
    assert boxes(outputs['segments'][0].detections) == [(0, 0, shape[1], shape[0])]


def test_tau_cuts_the_last_image_again(running):
    _, peer, _ = running
    header, outputs = peer.segment(quadrants(64, 128)[0])
    counts = [len(outputs['segments'][0].detections)]
    for tau in (0.0, 0.5):
        before = len(peer.outputs(header)['segments'])
        assert peer.set(tau=tau).successful
        assert peer.spin_until(lambda n=before: len(peer.outputs(header)['segments']) > n)
        counts.append(len(peer.outputs(header)['segments'][-1].detections))
    assert counts == [4, 1, 4]
    assert peer.spin_until(lambda: len(peer.outputs(header)['labels']) == 3)
    assert np.array_equal(array(peer.outputs(header)['labels'][0]), array(peer.outputs(header)['labels'][2]))


def test_min_segment_area_and_target_segments_act_at_once(running):
    node, peer, _ = running
    header, outputs = peer.segment(data.chelsea())
    areas = np.bincount(array(outputs['labels'][0]).ravel())[1:]
    assert peer.set(min_segment_area=int(areas.max())).successful
    assert peer.spin_until(lambda: len(peer.outputs(header)['segments'][-1].detections) == 1)
    assert peer.spin_until(lambda: len(peer.outputs(header)['labels']) == 2)
    assert np.bincount(array(peer.outputs(header)['labels'][-1]).ravel()).tolist() == [
        areas.sum() - areas.max(),
        areas.max(),
    ]
    assert peer.set(min_segment_area=0).successful
    assert peer.set(target_segments=7).successful
    assert peer.spin_until(lambda: 4 <= len(peer.outputs(header)['segments'][-1].detections) <= 7)
    assert peer.set(tau=0.5).successful
    node.wait_for_log('tau is not used while target_segments is 7; 0 lets tau decide again')
    assert peer.set(target_segments=0).successful
