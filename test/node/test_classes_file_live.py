"""The parameter `classes_file`: at start, while the node runs, and wrong ones."""

import numpy as np
import pytest
import yaml

from diffcut_ros.node.images import encode_image
from support.domain import free_domain
from support.scenes import quadrants
from support.taught import teach

IMAGE = quadrants(192, 256)[0]
TOPICS = ('class_info', 'classes', 'confidence')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('classes')
    teach(folder / 'two.yaml', [IMAGE], {'floor': (40, 40), 'person': (200, 40)})
    teach(folder / 'other.yaml', [IMAGE], {'grass': (40, 160)})
    teach(folder / 'coarse.yaml', [IMAGE], {'floor': (40, 40)}, kernel_width=100.0)
    teach(folder / 'damaged.yaml', [IMAGE], {'floor': (40, 40)})
    next(folder.glob('damaged.*.npy')).write_bytes(b'')
    (folder / 'newer.yaml').write_text(yaml.safe_dump({'format': 9}))
    return folder


@pytest.fixture(scope='module')
def node(start_node, connect, files):
    domain = free_domain()
    arguments = ('-p', 'rate_hz:=0.0', '-p', f'classes_file:={files}/two.yaml')
    with start_node(domain, *arguments) as process, connect(domain, topics=TOPICS) as peer:
        process.wait_for_log('waiting for images on /image')
        yield process, peer


def names(peer) -> dict[int, str]:
    return {one.class_id: one.class_name for one in peer.received['class_info'][-1].class_map}


def shown(peer) -> set[str]:
    """The names in the last image of classes; none before the first."""
    if not peer.received['classes']:
        return set()
    ids = np.unique(np.frombuffer(bytes(peer.received['classes'][-1].data), np.uint8)).tolist()
    return {names(peer).get(key, '') for key in ids}  # of an image before its names


def test_a_new_file_holds_at_once(node, files):
    """Names first, then the last image again."""
    process, peer = node
    process.wait_for_log('two.yaml: 2 classes, 2 examples')
    assert peer.spin_until(lambda: peer.received['class_info'])
    peer.publish(encode_image(IMAGE, 'rgb8', peer.header()))
    assert peer.spin_until(lambda: peer.received['classes'] and shown(peer) == {'unknown', 'floor', 'person'})
    assert peer.set(classes_file=str(files / 'other.yaml')).successful
    assert peer.spin_until(lambda: names(peer) == {0: 'unknown', 1: 'grass'})
    assert peer.spin_until(lambda: shown(peer) == {'unknown', 'grass'})
    assert peer.set(classes_file='').successful
    assert peer.spin_until(lambda: names(peer) == {0: 'unknown'} and shown(peer) == {'unknown'})


def test_set_again_it_is_read_again(node, files):
    _, peer = node
    file = files / 'edited.yaml'
    teach(file, [IMAGE], {'floor': (40, 40)})
    assert peer.set(classes_file=str(file)).successful
    assert peer.spin_until(lambda: names(peer) == {0: 'unknown', 1: 'floor'})
    file.write_text(file.read_text().replace('floor', 'parquet'))
    assert peer.set(classes_file=str(file)).successful
    assert peer.spin_until(lambda: names(peer) == {0: 'unknown', 1: 'parquet'})


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('absent.yaml', 'expected a file of classes, cannot read it'),
        ('newer.yaml', 'format: expected 1, received 9; it is of a newer diffcut_ros'),
        ('damaged.yaml', 'is damaged'),
        ('coarse.yaml', 'expected examples of the backend in use (color, '),
    ],
)
def test_a_wrong_file_changes_nothing(node, files, name, reason):
    _, peer = node
    assert peer.set(classes_file=str(files / 'two.yaml')).successful
    assert peer.spin_until(lambda: names(peer).get(2) == 'person')
    result = peer.set(classes_file=str(files / name))
    assert not result.successful
    assert reason in result.reason
    assert '\n' not in result.reason
    header = peer.header()
    peer.publish(encode_image(IMAGE, 'rgb8', header))
    assert peer.spin_until(lambda: peer.received['classes'] and peer.received['classes'][-1].header == header)
    assert shown(peer) == {'unknown', 'floor', 'person'}


def test_a_wrong_file_at_start_ends_the_node(start_node, files):
    with start_node(free_domain(), '-p', f'classes_file:={files}/newer.yaml') as process:
        assert process.wait() == 2
        assert 'newer.yaml: format: expected 1, received 9' in process.log
        assert 'Traceback' not in process.log


def test_less_sure_than_wanted_is_unknown(node, files):
    _, peer = node
    assert peer.set(classes_file=str(files / 'two.yaml')).successful
    peer.publish(encode_image(IMAGE, 'rgb8', peer.header()))
    assert peer.spin_until(lambda: 'floor' in shown(peer))
    try:
        assert peer.set(min_confidence=1.0).successful
        assert peer.spin_until(lambda: shown(peer) == {'unknown'})
        assert peer.received['class_info'][-1].threshold == 1.0
    finally:
        assert peer.set(min_confidence=0.0).successful


def test_a_name_of_the_mask_that_nothing_has_is_told(node, files):
    process, peer = node
    assert peer.set(mask_classes=['person', 'cat']).successful
    process.wait_for_log("mask_classes: no class is called 'cat', so that ~/mask does not show it; there are")


def test_a_mask_without_classes_is_told(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'rate_hz:=0.0') as process, connect(domain, topics=('mask',)) as peer:
        process.wait_for_log('waiting for images')
        _, outputs = peer.segment(IMAGE)
        assert not any(outputs['mask'][0].data)
        process.wait_for_log('/diffcut/mask: empty, since mask_classes names no class')
