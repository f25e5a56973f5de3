import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from diffcut_ros.core import Tracker
from diffcut_ros.core.colors import COLOR_CHOICE, give_numbers, number_colors
from diffcut_ros.core.frame import describe_segments
from diffcut_ros.core.plain import pack, unpack

SIZE_HW = 144, 192
# Of linear RGB, to people without red and without green cones (Vienot, Brettel, Mollon 1999).
SIGHTS = {
    'all colours': np.eye(3),
    'no red': np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    'no green': np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}


def mosaic(count: int, seed: int) -> np.ndarray:
    """Labels 0..count - 1 of the points that are nearest to each pixel."""
    points = np.random.default_rng(seed).random((count, 2)) * SIZE_HW
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    return ((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2).argmin(2)


def described(things: np.ndarray):
    """The segments of an image of things, each of which has one feature, wherever it is."""
    there, labels = np.unique(things, return_inverse=True)
    return describe_segments(labels.reshape(SIZE_HW), np.eye(64, dtype=np.float32)[there], 0, tau=0.5)


def neighbours(numbers: np.ndarray) -> np.ndarray:
    """Pairs of numbers of an image that touch along three pixels at least: what is less is no border to look at."""
    touching = (numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])
    pairs = np.concatenate([np.stack([one.ravel(), other.ravel()], 1) for one, other in touching])
    found, times = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    return found[(times >= 3) & (found[:, 0] > 0) & (found[:, 0] < found[:, 1])]


def difference(pairs: np.ndarray, sight: np.ndarray) -> np.ndarray:
    """How much the colours of pairs of numbers differ, by CIEDE2000."""
    colors = number_colors(pairs) / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4) @ sight.T
    linear = np.clip(linear, 0, 1)
    lab = rgb2lab(np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055))
    return deltaE_ciede2000(lab[:, 0], lab[:, 1])


@pytest.mark.parametrize('sight', SIGHTS)
def test_neighbours_of_an_image_never_look_alike(sight):
    alike_by_label = 0
    for seed in range(10):
        tracked = Tracker().update(described(mosaic(40, seed)), 0)
        pairs = neighbours(tracked.labels_by_track().astype(np.int64))
        assert len(pairs) > 80
        assert difference(pairs, SIGHTS[sight]).min() > 12, seed
        alike_by_label += (difference(neighbours(tracked.labels.astype(np.int64)), SIGHTS[sight]) < 12).sum()
    assert alike_by_label > 5  # of numbers that nobody chose


def test_a_segment_keeps_its_number_and_what_comes_beside_it_gives_way():
    everything, fewer = mosaic(30, seed=1), mosaic(30, seed=1)
    fewer[:, :96] = everything[0, 0]
    tracker = Tracker()
    before = tracker.update(described(fewer), 0).segments.track_id
    after = tracker.update(described(everything), 10**8)
    assert np.isin(before, after.segments.track_id).mean() > 0.8
    pairs = neighbours(after.labels_by_track().astype(np.int64))
    new = ~np.isin(pairs, before).all(1)
    assert new.sum() > 20
    assert difference(pairs[new], SIGHTS['all colours']).min() > 12


def test_numbers_that_were_passed_over_are_given_later_and_after_a_restart():
    tracker, resumed, given = Tracker(), Tracker(), []
    for i in range(20):
        # Nothing of an image is in the next one, by its features.
        features = np.zeros((12, 240), np.float32)
        features[np.arange(12), 12 * i + np.arange(12)] = 1
        segmentation = describe_segments(mosaic(12, seed=i), features, 0, tau=0.5)
        resumed.load(unpack(pack(tracker.save())))
        given.append(tracker.update(segmentation, i).segments.track_id)
        assert np.array_equal(resumed.update(segmentation, i).segments.track_id, given[-1])
    numbers = np.concatenate(given)
    assert len(set(numbers)) == 240
    assert numbers.max() < 240 + COLOR_CHOICE
    state = unpack(pack(tracker.save())) | {'_skipped': np.arange(1, COLOR_CHOICE + 1)}
    with pytest.raises(ValueError, match='skipped: expected'):
        resumed.load(state)


def test_where_no_candidate_differs_enough_the_one_that_differs_most_is_taken():
    numbers = np.append(np.arange(1, 61), 0)  # the last one touches all others
    given = give_numbers(numbers, np.ones((61, 61), bool), np.arange(61, 61 + COLOR_CHOICE))
    pairs = np.stack(np.broadcast_arrays(np.arange(61, 61 + COLOR_CHOICE)[:, None], numbers[:-1]), -1)
    least = [min(difference(row, sight).min() for sight in SIGHTS.values()) for row in pairs]
    assert np.array_equal(given[:-1], numbers[:-1])
    # By another measure than the one that chose.
    assert least[given[-1] - 61] >= np.median(least)
