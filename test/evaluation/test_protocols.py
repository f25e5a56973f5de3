import numpy as np
import pytest
from scipy.ndimage import median_filter

from diffcut_ros.evaluation.datasets import DATASETS, IGNORED, Dataset, Example
from diffcut_ros.evaluation.matching import count_as_published, overlap
from diffcut_ros.evaluation.protocols import PROTOCOLS
from diffcut_ros.evaluation.protocols.pamr import refined_masks
from diffcut_ros.evaluation.protocols.paper import crop, resize_labels, resized
from support.scenes import quadrants

PAPER, PLAIN = PROTOCOLS['paper'], PROTOCOLS['plain']
FOUR = Dataset('four', lambda root, split: [], classes=('a', 'b', 'c', 'd'))
OBJECTS = Dataset('objects', lambda root, split: [], classes=('a', 'b', 'background'), background=True)


def example(height: int, width: int) -> Example:
    image, labels = quadrants(height, width)
    return Example(image, (labels,))


def blocks(side: int, columns: list[int]) -> np.ndarray:
    """Return labels in upright stripes of equal width."""
    return np.repeat(np.array(columns), side // len(columns))[None].repeat(side, 0)


def test_crop_is_one_pixel_smaller_than_the_shorter_side():
    numbered = np.arange(6 * 9).reshape(6, 9)
    # 5 of 6 rows, from round(0.5) = 0 (half to even); 5 of 9 columns, from 2.
    np.testing.assert_array_equal(crop(numbered), numbered[0:5, 2:7])
    # 2 of 3 rows from round(0.5) = 0, 2 of 8 columns from 3.
    np.testing.assert_array_equal(crop(np.arange(24).reshape(3, 8)), np.arange(24).reshape(3, 8)[0:2, 3:5])
    # 2 of 3 rows again; 2 of 5 columns from round(1.5) = 2.
    np.testing.assert_array_equal(crop(np.arange(15).reshape(3, 5)), np.arange(15).reshape(3, 5)[0:2, 2:4])


def test_an_image_of_one_pixel_cannot_be_cropped():
    with pytest.raises(ValueError, match='at least 2x2 pixels, received 7x1'):
        crop(np.zeros((1, 7)))


def test_labels_are_the_nearest_at_1024_of_which_every_eighth():
    # Pixel 8i of 1024 is at (8i + 0.5) * 3 / 1024 of 3: column 0 up to 8i = 341 (i = 42), 1 up to 682 (i = 85).
    small = resize_labels(np.array([[0, 1, 2]] * 3))
    assert small.shape == (128, 128)
    assert np.bincount(small[0]).tolist() == [43, 43, 42]
    assert small.dtype == np.int64


def test_labels_are_taken_at_the_centres_of_pixels():
    numbered = np.broadcast_to(np.arange(95), (95, 95))
    expected = np.floor((8 * np.arange(128) + 0.5) * 95 / 1024).astype(int)
    assert (expected != np.floor(8 * np.arange(128) * 95 / 1024)).any()
    np.testing.assert_array_equal(resize_labels(numbered)[64], expected)


def test_paper_view():
    shown = PAPER.view(example(65, 97), FOUR)
    assert shown.image_rgb.shape == (1024, 1024, 3)
    assert shown.scored_rgb.shape == (128, 128, 3)
    assert [truth.shape for truth in shown.truths] == [(128, 128)]
    assert np.unique(shown.truths[0]).tolist() == [0, 1, 2, 3]
    # Bilinear without antialiasing: away from borders, flat colours stay.
    assert shown.scored_rgb[10, 10].tolist() == [254, 254, 254]
    assert shown.scored_rgb[-10, -10].tolist() == [0, 0, 254]


def test_paper_scores_the_true_labels_perfectly():
    shown = PAPER.view(example(64, 96), FOUR)
    score = PAPER.score(3 - shown.truths[0], shown, FOUR, False)
    assert score.classes.mean_iou() == 1
    assert score.agreement is score.boundary is None


def test_paper_samples_segments_at_1024():
    shown = PAPER.view(example(64, 96), FOUR)
    large = np.zeros((1024, 1024), np.int64)
    large[::8, ::8] = shown.truths[0]
    assert PAPER.score(large, shown, FOUR, False).classes.mean_iou() == 1


def test_paper_merges_the_background():
    # Stripes: a, a, ignored, background. Segments: one per stripe. a matches the first; the others are background.
    image = np.zeros((129, 129, 3), np.uint8)
    truth = np.zeros((129, 129), np.int64)
    truth[:, :128] = blocks(129, [0, 0, IGNORED, 2])[:, :128]
    shown = PAPER.view(Example(image, (truth,)), OBJECTS)
    assert np.unique(shown.truths[0]).tolist() == [0, 2]  # what is ignored counts as background, as published
    score = PAPER.score(blocks(128, [0, 1, 2, 3]), shown, OBJECTS, False)
    quarter = 128 * 32
    assert score.classes.true_positive.tolist() == [quarter, 0, 2 * quarter]
    assert score.classes.false_positive.tolist() == [0, 0, quarter]
    assert score.classes.false_negative.tolist() == [quarter, 0, 0]
    assert score.classes.mean_iou() == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize('protocol', [PAPER, PLAIN])
def test_refinement_moves_borders_to_edges(protocol):
    """Segments two columns of 128 off; PAMR finds the edge, and the median leaves no specks."""
    shown = protocol.view(example(256, 256), FOUR)
    moved = np.roll(shown.truths[0], 2 * shown.truths[0].shape[1] // 128, 1)
    before = protocol.score(moved, shown, FOUR, False).classes.mean_iou()
    after = protocol.score(moved, shown, FOUR, True).classes.mean_iou()
    assert before < 0.97
    assert after > before + 0.015


def test_paper_refines_by_pamr_and_a_median():
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (129, 129, 3), np.uint8)
    shown = PAPER.view(Example(image, (quadrants(129, 129)[1],)), FOUR)
    labels = generator.integers(0, 4, (128, 128))
    masks = refined_masks(resized(shown.image_rgb, 128), labels).argmax(0).numpy()
    by_hand = count_as_published(overlap(shown.truths[0], median_filter(masks, 3), 4))
    assert PAPER.score(labels, shown, FOUR, True).classes.iou().tolist() == by_hand.iou().tolist()
    without_median = count_as_published(overlap(shown.truths[0], masks, 4))
    assert by_hand.iou().tolist() != without_median.iou().tolist()


def test_plain_scores_the_whole_image_at_its_size():
    shown = PLAIN.view(example(50, 70), FOUR)
    assert shown.image_rgb.shape == (50, 70, 3)
    truth = shown.truths[0].copy()
    labels = truth.copy()
    labels[0, 0] = 3  # one pixel of the first class in the segment of the last: all of it counts, at full resolution
    score = PLAIN.score(labels, shown, FOUR, False)
    quarter = 25 * 35
    assert score.classes.true_positive.tolist() == [quarter - 1, quarter, quarter, quarter]
    assert score.classes.false_positive.tolist() == [0, 0, 0, 1]
    assert score.agreement.covering < 1


def test_plain_leaves_ignored_pixels_out():
    image, truth = quadrants(40, 40)
    shown = PLAIN.view(Example(image, (np.where(truth == 3, IGNORED, truth),)), FOUR)
    wrong_where_ignored = np.where(truth == 3, np.arange(1600).reshape(40, 40) % 3, truth)
    score = PLAIN.score(wrong_where_ignored, shown, FOUR, False)
    assert score.classes.mean_iou() == 1
    assert score.agreement.covering == score.agreement.rand_index == 1
    nothing = PLAIN.view(Example(image, (np.full((40, 40), IGNORED),)), FOUR)
    assert PLAIN.score(truth, nothing, FOUR, False).agreement is None


def test_plain_compares_with_each_person():
    image, truth = quadrants(64, 64)
    shown = PLAIN.view(Example(image, (truth + 1, truth // 2 + 1)), DATASETS['bsds500'])
    score = PLAIN.score(truth, shown, DATASETS['bsds500'], False)
    # The first person agrees; the second one drew halves, each covered by half.
    assert score.agreement.covering == pytest.approx((1 + 1 / 2) / 2)
    assert score.agreement.variation_of_information == pytest.approx((0 + 1) / 2)
    assert score.classes is None
    assert score.boundary.precision() == 1
    assert score.boundary.recall() == 1
