"""Names by example on segments whose classes are known: what is shown, and how names are scored, by hand."""

import numpy as np
import pytest

from diffcut_ros.evaluation.datasets import DATASETS
from diffcut_ros.evaluation.named_segments import Bound, NamedSegments
from diffcut_ros.evaluation.naming import METHODS, name_and_score, show, shown_frames

NAMES = ('sky', 'road', 'car')
AXES = np.eye(4, dtype=np.float32)


def image(name: str, *segments, outside=(0, 0, 0)) -> NamedSegments:
    """Segments of (feature, area, pixels of each class)."""
    features, areas, pixels = zip(*segments, strict=True)
    return NamedSegments(
        name,
        np.array(features, np.float32),
        np.full(len(areas), 0.9),
        np.array(areas),
        np.array([outside, *pixels]),
        0.0,
        0.0,
        False,
        'f',
    )


def simple(name: str) -> NamedSegments:
    return image(name, (AXES[0], 10, (10, 0, 0)), (AXES[1], 20, (0, 18, 2)), (AXES[2], 4, (0, 0, 4)))


def test_frames_are_spread_evenly_from_the_first_to_the_last():
    assert shown_frames(101, 6) == [0, 20, 40, 60, 80, 100]
    assert shown_frames(11, 2) == [0, 10]
    assert shown_frames(11, 1) == [0]
    others = shown_frames(101, 6, choice=1)
    assert others == sorted(set(others)) == shown_frames(101, 6, choice=1)
    assert len(others) == 6
    assert others != shown_frames(101, 6, choice=2)
    with pytest.raises(ValueError, match='fewer than the 6 images of the data set, received 6'):
        shown_frames(6, 6)


def test_the_largest_segments_of_each_class_are_shown():
    first = image(
        'a',
        (AXES[0], 10, (10, 0, 0)),
        (AXES[1], 30, (16, 0, 0)),
        (AXES[2], 20, (20, 0, 0)),
        (AXES[3], 90, (45, 0, 0)),  # no more than half of it
        (AXES[3], 50, (0, 26, 24)),
    )
    classes = show([first, simple('b'), simple('c')], [0], 2, NAMES)
    assert [classes.name(key) for key in classes.class_id] == ['sky', 'sky', 'road']
    assert classes.feature.tolist() == AXES[[1, 2, 3]].tolist()
    both = show([first, simple('b')], [0, 1], 1, NAMES)
    assert [both.name(key) for key in both.class_id] == ['sky', 'road', 'sky', 'road', 'car']
    assert [(one.recording, one.stamp_ns) for one in both.sources] == 2 * [('a', 0)] + 3 * [('b', 1)]
    without = show([first, simple('b')], [1], 1, ('sky', '', 'car'))
    assert [without.name(key) for key in without.class_id] == ['sky', 'car']
    assert without.id_of('car') == 3  # as in the data set
    assert len(show([first], [0], 1, ('', '', ''))) == 0


def test_scores_by_hand():
    """Sky and road are named right, confidence 0.95 and 0.65; the car is unknown, and 6 pixels are in no segment."""
    images = [
        simple('shown'),
        image('new', *zip(AXES[:3], (10, 20, 4), simple('').pixels[1:], strict=True), outside=(0, 6, 0)),
    ]

    def naming(feature):
        assert feature.tolist() == AXES[:3].tolist()
        return np.array([1, 2, 0]), np.array([0.95, 0.65, 0.0])

    scored = name_and_score(images, [0], naming)
    assert scored.counts.true_positive.tolist() == [10, 18, 0]
    assert scored.counts.false_positive.tolist() == [0, 2, 0]
    assert scored.counts.false_negative.tolist() == [0, 6, 6]
    assert scored.counts.pixel_accuracy() == pytest.approx(28 / 40)
    assert scored.counts.mean_iou() == pytest.approx((1 + 18 / 26 + 0) / 3)
    assert scored.unknown == pytest.approx(10 / 40)
    assert scored.unknown_of_class == pytest.approx([0, 6 / 24, 4 / 6])
    assert scored.named_accuracy == pytest.approx(28 / 30)
    assert scored.calibration_error == pytest.approx((10 * 0.05 + 20 * 0.35) / 30)
    assert scored.calibration_error_of_pixels == pytest.approx((10 * 0.05 + 20 * 0.25) / 30)
    low, high = (one for one in scored.bins if one)
    assert (scored.bins.index(low), scored.bins.index(high)) == (6, 9)
    assert (low.pixels, low.confidence, low.right_segments, low.right_pixels) == (20, pytest.approx(0.65), 1, 0.9)


def test_confidences_that_are_wrong_in_both_directions_do_not_cancel():
    images = [simple('shown'), simple('new')]
    scored = name_and_score(images, [0], lambda _: (np.array([1, 1, 1]), np.array([0.15, 0.95, 0.95])))
    # Ten pixels are right at 0.15, 24 are wrong at 0.95.
    assert scored.calibration_error == pytest.approx((10 * 0.85 + 24 * 0.95) / 34)


def test_nothing_named_and_nothing_labelled():
    images = [simple('shown'), simple('new')]
    scored = name_and_score(images, [0], lambda feature: (np.zeros(3, int), np.zeros(3)))
    assert (scored.unknown, scored.counts.pixel_accuracy(), scored.calibration_error) == (1, 0, None)
    assert np.isnan(scored.named_accuracy)
    blank = image('blank', (AXES[0], 10, (0, 0, 0)))
    with pytest.raises(ValueError, match='expected labelled pixels in images that are not shown'):
        name_and_score([simple('shown'), blank], [0], lambda feature: (np.ones(1, int), None))


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('names', [NAMES, ('sky', '', ''), ('', '', '')])
def test_every_method_names_what_it_was_shown(method, names):
    images = [simple(name) for name in 'abcd']
    scored = name_and_score(images, [0, 1], METHODS[method](show(images, [0, 1], 2, names)))
    right = [names[0] and 20, names[1] and 36, names[2] and 8]
    assert scored.counts.true_positive.tolist() == [count or 0 for count in right]
    if method == 'classes':
        assert scored.unknown == pytest.approx(1 - sum(count or 0 for count in right) / 68 - 4 / 68 * bool(names[1]))
    elif names[0]:
        assert scored.unknown == 0
    assert (scored.calibration_error is not None) == (method.startswith('classes') and bool(names[0]))


def test_what_is_best_possible():
    bound = Bound()
    assert bound.headline() == 'at best'
    bound.add(image('a', (AXES[0], 10, (6, 4, 0)), (AXES[1], 10, (0, 0, 6)), outside=(0, 4, 0)))
    assert bound.headline() == 'at best 0.600'


@pytest.mark.parametrize('name', [name for name, dataset in DATASETS.items() if dataset.classes])
def test_classes_of_every_data_set_can_be_taught(name):
    names = DATASETS[name].classes
    pixels = 10 * np.eye(len(names), dtype=int)
    segments = [(np.eye(2, dtype=np.float32)[k % 2], 10, row) for k, row in enumerate(pixels)]
    classes = show([image('a', *segments, outside=np.zeros(len(names), int))], [0], 1, names)
    assert tuple(classes.name(key) for key in classes.class_id) == names
