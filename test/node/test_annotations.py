"""Annotations and feature images as messages, and types of packages that need not be there."""

from dataclasses import replace

import numpy as np
import pytest
from std_msgs.msg import Header

from diffcut_ros.core import Classes, Segmentation
from diffcut_ros.core.frame import describe_segments
from diffcut_ros.media.overlay import track_colors
from diffcut_ros.node.messages import MESSAGES, installed
from support.recorded_node import TRACK_IDS
from support.scenes import quadrants


@pytest.fixture
def segmentation():
    """Four segments, of which the third is not tracked."""
    _, quadrant = quadrants(48, 64)
    found = describe_segments(quadrant, np.full((4, 8), 0.3, np.float32), 0, 0.5)
    return Segmentation(found.labels, replace(found.segments, track_id=np.array(TRACK_IDS)), 0.5)


@pytest.mark.parametrize('by_track', [False, True])
def test_names_without_a_class(segmentation, by_track):
    pytest.importorskip('foxglove_msgs.msg')
    classes = Classes().with_class('chair')
    class_id, colors = np.array([0, 1, 0, 0]), track_colors(segmentation.segments)
    made = MESSAGES.annotations(segmentation, Header(), colors, classes, class_id, by_track)
    names = ['7', 'chair', '60000'] if by_track else ['7', 'chair', 'segment 3', '60000']
    assert [text.text for text in made.texts] == names
    assert len(made.points) == len(names)
    labels = [segmentation.labels[int(text.position.y), int(text.position.x)] for text in made.texts]
    assert labels == ([1, 2, 4] if by_track else [1, 2, 3, 4])


def test_a_long_name_starts_inside_its_segment(segmentation):
    pytest.importorskip('foxglove_msgs.msg')
    classes = Classes().with_class('w' * 64)
    made = MESSAGES.annotations(segmentation, Header(), np.zeros((4, 3), np.uint8), classes, np.ones(4, int))
    for label, text in enumerate(made.texts, 1):
        assert segmentation.labels[int(text.position.y), int(text.position.x)] == label


@pytest.mark.parametrize('by_track', [False, True])
def test_as_many_features_as_ids_and_ids_of_what_occurs_alone(segmentation, by_track):
    pytest.importorskip('semantic_inference_msgs.msg')
    made = MESSAGES.feature_image(segmentation, Header(frame_id='camera'), by_track)
    values = np.frombuffer(bytes(made.image.data), '<u2')
    assert list(made.mask_ids) == ([7, 8, 60000] if by_track else [1, 2, 3, 4])
    assert set(made.mask_ids) == set(values[values > 0].tolist())
    assert len(made.features) == len(made.mask_ids)
    assert made.header == made.image.header == Header(frame_id='camera')


def test_an_image_without_segments_has_none_of_them():
    pytest.importorskip('semantic_inference_msgs.msg')
    pytest.importorskip('foxglove_msgs.msg')
    nothing = describe_segments(np.zeros((4, 6), np.uint8), np.ones((1, 8), np.float32), 100, 0.5)
    made = MESSAGES.feature_image(nothing, Header())
    assert (len(made.mask_ids), len(made.features), any(made.image.data)) == (0, 0, False)
    none = np.zeros(0, int)
    made = MESSAGES.annotations(nothing, Header(), np.zeros((0, 3), np.uint8), Classes(), none)
    assert not made.points
    assert not made.texts


def test_types_of_packages_that_need_not_be_there(tmp_path, monkeypatch):
    for package, code in (('damaged_msgs', 'raise RuntimeError("no library")'), ('older_msgs', 'import rclpy')):
        (tmp_path / package / 'msg').mkdir(parents=True)
        (tmp_path / package / '__init__.py').touch()
        (tmp_path / package / 'msg/__init__.py').write_text(code)
    (tmp_path / 'needy_msgs').mkdir()
    (tmp_path / 'needy_msgs/__init__.py').write_text('import no_such_package')
    monkeypatch.syspath_prepend(tmp_path)
    assert installed('std_msgs/msg/Header') == (Header, '')
    for package, reason in (
        ('missing_msgs', 'is not installed'),
        ('damaged_msgs', 'is broken: RuntimeError: no library'),
        ('needy_msgs', "is broken: ModuleNotFoundError: No module named 'no_such_package'"),
        ('older_msgs', "is broken: AttributeError: module 'older_msgs.msg' has no attribute 'Thing'"),
    ):
        assert installed(f'{package}/msg/Thing') == (None, f'the package {package} {reason}')
