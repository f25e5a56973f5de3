from dataclasses import replace

import numpy as np
import pytest

from diffcut_ros.core import Segmentation, Tracker, TrackerConfig
from diffcut_ros.core.colors import COLOR_CHOICE
from diffcut_ros.core.frame import describe_segments
from diffcut_ros.core.types import MAX_TRACK_ID

FRAME_NS = 100_000_000
RED, GREEN, BLUE, GREY = np.eye(4, dtype=np.float32)


def scene(*boxes: tuple[tuple[int, int, int, int], np.ndarray], hw: tuple[int, int] = (120, 160)) -> Segmentation:
    """Draw boxes (x0, y0, x1, y1) with their features, later ones in front, on a ground that is no segment."""
    labels = np.zeros(hw, np.int64)
    for k, ((x0, y0, x1, y1), _) in enumerate(boxes):
        labels[y0:y1, x0:x1] = k + 1
    return without_ground(labels, np.array([GREY, *(feature for _, feature in boxes)]))


def without_ground(labels: np.ndarray, features: np.ndarray) -> Segmentation:
    """Describe the segments of labels 0..K by features [K + 1, C]; 0 becomes none."""
    found = describe_segments(labels, features, 0, tau=0.5)
    if not (labels == 0).any():
        return found
    values = np.maximum(found.labels.astype(np.int64) - 1, 0)
    segments = replace(found.segments[1:], label=found.segments.label[1:] - 1)
    return Segmentation(values.astype(np.uint8 if len(segments) <= 255 else np.uint16), segments, tau=0.5)


def square(x: int, y: int, side: int = 30) -> tuple[int, int, int, int]:
    return x, y, x + side, y + side


def ids(segmentation: Segmentation) -> list[int]:
    return segmentation.segments.track_id.tolist()


def track(scenes: list[Segmentation], tracker: Tracker | None = None) -> list[list[int]]:
    """Return the identities in each of several scenes, 0.1 s apart."""
    tracker = tracker or Tracker()
    return [ids(tracker.update(scene, i * FRAME_NS)) for i, scene in enumerate(scenes)]


def by_feature(drawn: Segmentation, found: list[int]) -> dict[int, int]:
    """Return which identity each feature has that is seen, by the feature's place in RED, GREEN, BLUE, GREY."""
    return {int(segment.feature.argmax()): i for segment, i in zip(drawn.segments, found, strict=True)}


def test_moving_squares_keep_their_identities():
    scenes = [scene((square(10 + 4 * i, 10), RED), (square(100 - 3 * i, 70), GREEN)) for i in range(12)]
    assert track(scenes) == [[1, 2]] * 12


def test_squares_of_one_feature_are_told_apart_by_place():
    scenes = [scene((square(10 + 4 * i, 10), RED), (square(100 - 3 * i, 70), RED)) for i in range(12)]
    assert track(scenes) == [[1, 2]] * 12


def test_a_camera_that_pans_by_more_than_a_square_is_followed():
    # Twelve squares of the same feature, each where its neighbour was: only the motion of all tells them apart.
    rng = np.random.default_rng(0)
    places = [
        (20 + 30 * i + int(rng.integers(8)), 10 + 40 * j + int(rng.integers(15))) for i in range(8) for j in range(3)
    ]
    first = scene(*((square(x, y, 14), RED) for x, y in places), hw=(120, 320))
    second = scene(*((square(x + 30, y, 14), RED) for x, y in places if x + 44 <= 320), hw=(120, 320))
    before, after = track([first, second])
    expected = [before[i] for i, (x, _) in enumerate(places) if x + 44 <= 320]
    assert after == expected


def test_a_square_far_away_with_the_same_feature_is_the_same_one():
    # No overlap: 36 of 160 columns away.
    assert track([scene((square(10, 10), RED)), scene((square(46, 10), RED))]) == [[1], [1]]


@pytest.mark.parametrize(
    ('box', 'feature'),
    [(square(120, 10), RED), (square(50, 10), GREEN), (square(50, 10, 70), RED)],
    ids=['too far', 'another feature', 'too large'],
)
def test_another_square_is_new(box, feature):
    anchor = (square(0, 90, 20), BLUE)
    assert track([scene((square(10, 10), RED), anchor), scene((box, feature), anchor)]) == [[1, 2], [3, 2]]


def test_a_hidden_square_comes_back_with_its_identity():
    # A wall passes in front of it.
    walls = [(x, 0, x + 50, 120) for x in range(0, 111, 10)]
    scenes = [scene((square(60, 45), RED), (wall, BLUE), (square(0, 0, 20), GREEN)) for wall in walls]
    found = [by_feature(*pair) for pair in zip(scenes, track(scenes), strict=True)]
    assert any(0 not in row for row in found)
    for row in found:
        assert row.items() <= found[0].items()


@pytest.mark.parametrize(('pause_s', 'expected'), [(0.9, 1), (1.1, 3)])
def test_after_max_age_it_is_a_new_one(pause_s, expected):
    tracker = Tracker(TrackerConfig(max_age_s=1.0))
    anchor = (square(0, 90, 20), GREEN)
    assert ids(tracker.update(scene((square(60, 45), RED), anchor), 0)) == [1, 2]
    for stamp_ns in range(FRAME_NS, int(pause_s * 1e9), FRAME_NS):
        assert ids(tracker.update(scene(anchor), stamp_ns)) == [2]
    assert ids(tracker.update(scene((square(60, 45), RED), anchor), int(pause_s * 1e9))) == [expected, 2]


def test_the_larger_part_of_a_split_keeps_the_identity():
    whole, larger, smaller = (20, 20, 80, 60), (20, 20, 58, 60), (58, 20, 80, 60)
    assert track([scene((whole, RED)), scene((smaller, RED), (larger, RED))]) == [[1], [2, 1]]


def test_the_larger_of_two_that_merge_keeps_the_identity_and_the_other_one_comes_back():
    whole, larger, smaller = (20, 20, 80, 60), (20, 20, 58, 60), (58, 20, 80, 60)
    apart, merged = scene((smaller, RED), (larger, RED)), scene((whole, RED))
    found = track([apart, merged, merged, apart, merged, apart])
    assert found == [[2, 1], [1], [1], [2, 1], [1], [2, 1]]


def test_crossing_squares_with_other_features_are_not_confused():
    # Red passes in front of green.
    scenes = [scene((square(110 - 10 * i, 40), GREEN), (square(10 + 10 * i, 40), RED)) for i in range(11)]
    found = [by_feature(*pair) for pair in zip(scenes, track(scenes), strict=True)]
    assert any(1 not in row for row in found)
    for row in found:
        assert row.items() <= found[0].items()


def test_squares_that_swap_places_at_once_keep_their_identities():
    first = scene((square(20, 40), RED), (square(60, 40), GREEN))
    second = scene((square(20, 40), GREEN), (square(60, 40), RED))
    assert track([first, second]) == [[1, 2], [2, 1]]


def test_everything_is_new_when_the_stamp_goes_back():
    tracker = Tracker()
    drawn = scene((square(10, 10), RED), (square(80, 70), GREEN))
    found = [ids(tracker.update(drawn, stamp_ns)) for stamp_ns in (10**9, 10**9 + FRAME_NS, 10**9, 10**9)]
    assert found == [[1, 2], [1, 2], [3, 4], [3, 4]]


def test_everything_is_new_after_a_long_gap():
    tracker = Tracker(TrackerConfig(max_age_s=2.0))
    drawn = scene((square(10, 10), RED))
    found = [ids(tracker.update(drawn, stamp_ns)) for stamp_ns in (0, 2 * 10**9, 4 * 10**9 + 1)]
    assert found == [[1], [1], [2]]


def test_everything_is_new_with_another_kind_of_features():
    tracker = Tracker()
    drawn = scene((square(10, 10), RED))
    assert ids(tracker.update(drawn, 0)) == [1]
    other = replace(drawn, segments=replace(drawn.segments, feature=np.ones((1, 7), np.float32)))
    assert ids(tracker.update(other, FRAME_NS)) == [2]
    assert ids(tracker.update(other, 2 * FRAME_NS)) == [2]


def test_another_image_size_keeps_identities():
    scenes = [
        scene((square(20, 10, 40), RED), (square(100, 70, 40), RED)),
        scene((square(40, 20, 80), RED), (square(200, 140, 80), RED), hw=(240, 320)),
        scene((square(10, 5, 20), RED), (square(50, 35, 20), RED), hw=(60, 80)),
    ]
    assert track(scenes) == [[1, 2]] * 3


def test_no_segments():
    empty = scene(hw=(48, 64))
    drawn = scene((square(10, 10), RED), hw=(48, 64))
    assert not len(empty.segments)
    assert track([empty, empty, drawn, empty, drawn, empty]) == [[], [], [1], [], [1], []]
    assert empty.labels_by_track().tolist() == np.zeros((48, 64)).tolist()


def test_one_segment_that_fills_the_image():
    found = describe_segments(np.zeros((48, 64), np.int64), RED[None], 0, tau=0.5)
    assert track([found, found, found]) == [[1]] * 3


@pytest.mark.parametrize('hw', [(1, 1), (1, 9), (9, 1), (3, 500)])
def test_tiny_and_thin_images(hw):
    whole = describe_segments(np.zeros(hw, np.int64), RED[None], 0, tau=0.5)
    assert track([whole, whole]) == [[1], [1]]


def test_a_segment_smaller_than_the_distance_of_samples():
    # One pixel of a large image: no sample hits it.
    labels = np.zeros((480, 640), np.int64)
    labels[1, 1] = 1
    dot = describe_segments(labels, np.array([GREY, RED]), 0, tau=0.5)
    assert track([dot, dot, dot]) == [[1, 2]] * 3


def mosaic(rows: int, columns: int, shift: int = 0) -> Segmentation:
    """Divide an image of 480 x 640 that moves to the left into rows x columns segments with random features."""
    features = np.random.default_rng(1).standard_normal((rows * columns, 16)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    y, x = np.mgrid[:480, :640]
    return describe_segments(
        y * rows // 480 * columns + np.minimum(x + shift, 639) * columns // 640, features, 0, tau=0.5
    )


def test_five_hundred_segments():
    found = track([mosaic(20, 25), mosaic(20, 25, 4), mosaic(20, 25, 8)])
    assert sorted(found[0]) == list(range(1, 501))
    assert found[1] == found[2] == found[0]


def test_of_more_than_a_thousand_segments_the_largest_are_tracked():
    labels = np.zeros((60, 80), np.int64)
    labels[10:] = np.arange(50 * 80).reshape(50, 80)[:, :] // 4 + 1
    many = describe_segments(labels, np.ones((1001, 1), np.float32), 0, tau=0.5)
    tracker = Tracker()
    found = np.array(ids(tracker.update(many, 0)))
    assert len(found) == 1001
    assert found[0] == 1  # the largest
    assert sorted(found) == list(range(1001))
    assert ids(tracker.update(many, FRAME_NS)) == found.tolist()


def test_identities_survive_relabelling():
    rng = np.random.default_rng(3)
    plain, shuffled = Tracker(), Tracker()
    for i in range(6):
        labels, features = random_scene(i)
        order = rng.permutation(len(features))
        other = np.argsort(order)[labels]
        one = plain.update(describe_segments(labels, features, 0, tau=0.5), i * FRAME_NS)
        two = shuffled.update(describe_segments(other, features[order], 0, tau=0.5), i * FRAME_NS)
        assert np.array_equal(one.labels_by_track(), two.labels_by_track())


def random_scene(i: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels [90, 120] and unit features of a Voronoi diagram whose centres and number change with i."""
    rng = np.random.default_rng(7)
    centers = rng.uniform(0, (120, 90), (40, 2))[: 40 - 2 * (i % 3)] + rng.uniform(-1, 1, 2) * i
    y, x = np.mgrid[:90, :120]
    labels = ((x[..., None] - centers[:, 0]) ** 2 + (y[..., None] - centers[:, 1]) ** 2).argmin(2)
    kept, labels = np.unique(labels, return_inverse=True)
    features = rng.standard_normal((40, 8)).astype(np.float32)[kept]
    return labels.reshape(90, 120), features / np.linalg.norm(features, axis=1, keepdims=True)


def test_the_same_input_gives_the_same_identities():
    scenes = [describe_segments(*random_scene(i), 0, tau=0.5) for i in range(6)]
    assert track(scenes) == track(scenes)


def test_an_identity_that_ended_is_not_given_again():
    tracker = Tracker(TrackerConfig(max_age_s=0.15))
    given = []
    for i in range(20):
        # Each image shows another colour: nothing is like anything of the image before, or hidden for long enough.
        drawn = scene(
            (square(10, 10), (RED, GREEN, BLUE, GREY)[i % 4]), (square(80, 10), (BLUE, GREY, RED, GREEN)[i % 4])
        )
        given += ids(tracker.update(drawn, i * FRAME_NS))
    assert given == list(range(1, 41))


def test_used_up_identities_are_given_again_the_oldest_first():
    tracker = Tracker()
    labels = np.zeros((60, 80), np.int64)
    labels[20:] = np.arange(40 * 80).reshape(40, 80) // 3.2 + 1  # 1000 in one large one, which stays
    every_other = 2 + np.arange(71 * 999) % (MAX_TRACK_ID - 1)
    may_wait = COLOR_CHOICE - 1  # that many are passed over, for the colours of neighbours
    for i in range(70):
        features = np.zeros((1001, 71), np.float32)  # no image's features are like those of any other
        features[0, 70] = features[1:, i] = 1
        found = ids(tracker.update(describe_segments(labels, features, 0, tau=0.5), i))
        assert found[0] == 1
        assert len(set(found[1:])) == 1000
        assert set(found[1:]) <= {0, *every_other[max(0, 999 * i - may_wait) : 999 * (i + 1) + may_wait].tolist()}


def test_label_image_of_identities():
    drawn = scene((square(10, 10), RED), (square(80, 70), GREEN))
    given = replace(drawn, segments=replace(drawn.segments, track_id=np.array([65535, 7])))
    image = given.labels_by_track()
    assert (image.dtype, image.shape) == (np.uint16, (120, 160))
    assert np.array_equal(image, np.array([0, 65535, 7])[drawn.labels])
    assert drawn.labels_by_track().max() == 0


def test_what_is_not_the_identity_stays():
    drawn = scene((square(10, 10), RED), (square(80, 70), GREEN))
    found = Tracker().update(drawn, 0)
    assert ids(drawn) == [0, 0]
    assert found.labels is drawn.labels
    for name in ('label', 'area_px', 'box_xyxy', 'centroid_xy', 'score', 'feature'):
        assert np.array_equal(getattr(found.segments, name), getattr(drawn.segments, name))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'max_age_s': -1.0}, r'max_age_s: expected 0\.0 to 3600\.0 s, received -1\.0'),
        ({'min_similarity': 1.5}, r'min_similarity: expected 0\.0 to 1\.0, received 1\.5'),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        TrackerConfig(**settings)
