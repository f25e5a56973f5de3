import numpy as np
import pytest

from diffcut_ros.evaluation.matching import ClassCounts, count, count_as_published, merge_background, overlap

# Three classes, four segments; 12 labelled pixels and two ignored ones.
TRUTH = np.array([[0, 0, 0, 0, 0, 1, 1], [1, -1, 2, 2, 2, 2, -1]])
LABELS = np.array([[0, 0, 0, 1, 1, 1, 1], [1, 1, 2, 2, 3, 3, 0]])


def as_lists(counts: ClassCounts) -> list[list[int]]:
    return [values.tolist() for values in vars(counts).values()]


def test_overlap_leaves_ignored_pixels_out():
    assert overlap(TRUTH, LABELS, 3).tolist() == [[3, 2, 0, 0], [0, 3, 0, 0], [0, 0, 2, 2]]
    # As many columns as classes at least, so that every class can be given one.
    assert overlap(TRUTH[:1], LABELS[:1], 3).tolist() == [[3, 2, 0], [0, 2, 0], [0, 0, 0]]


def test_counts_by_hand():
    # 0 - segment 0 (3 of 5), 1 - segment 1 (3 of 3, and two pixels of class 0), 2 - segment 2 or 3 (2 of 4).
    for counts in (count_as_published(overlap(TRUTH, LABELS, 3)), count(overlap(TRUTH, LABELS, 3), background=False)):
        assert as_lists(counts) == [[3, 3, 2], [0, 2, 0], [2, 0, 2]]
        assert counts.iou() == pytest.approx([3 / 5, 3 / 5, 2 / 4])
        assert counts.mean_iou() == pytest.approx((0.6 + 0.6 + 0.5) / 3)
        assert counts.pixel_accuracy() == pytest.approx(8 / 12)


def test_pooling_sums_pixels_not_scores():
    one = ClassCounts(np.array([1, 0]), np.array([1, 0]), np.array([0, 0]))
    other = ClassCounts(np.array([8, 0]), np.array([0, 0]), np.array([0, 0]))
    assert (one + other).iou()[0] == pytest.approx(9 / 10)  # not (1 / 2 + 8 / 8) / 2
    assert (one + other).mean_iou() == pytest.approx(9 / 10)  # a class that does not occur does not count


def test_nothing_labelled_is_no_score():
    counts = count_as_published(overlap(np.full((2, 2), -1), np.zeros((2, 2), int), 3))
    assert np.isnan(counts.mean_iou())
    assert np.isnan(counts.pixel_accuracy())


def test_matching_is_for_all_classes_together():
    # Class 0 shares most with segment 0 (5), but giving it to class 1 (4) and segment 1 (3) to class 0 shares more.
    table = np.array([[5, 3], [4, 0]])
    for counts in (count_as_published(table), count(table, background=False)):
        assert as_lists(counts) == [[3, 4], [0, 5], [5, 0]]


def test_segments_too_many():
    """One class in the image, two segments: as published, the smaller one makes an absent class wrong."""
    table = overlap(np.zeros((1, 5), int), np.array([[0, 0, 0, 1, 1]]), 2)
    assert as_lists(count_as_published(table)) == [[3, 0], [0, 2], [2, 0]]
    assert count_as_published(table).mean_iou() == pytest.approx((3 / 5 + 0) / 2)
    assert as_lists(count(table, background=False)) == [[3, 0], [0, 0], [2, 0]]
    assert count(table, background=False).mean_iou() == pytest.approx(3 / 5)


def test_a_segment_that_shares_nothing_with_a_class_is_not_its_own():
    # Class 1 lies in the segment of class 0; what is left of class 0 is given to it as published, and not plainly.
    table = np.array([[5, 2], [1, 0]])
    assert as_lists(count_as_published(table)) == [[5, 0], [1, 2], [2, 1]]
    assert as_lists(count(table, background=False)) == [[5, 0], [1, 0], [2, 1]]


def test_merge_background_by_hand():
    # Foreground 0 and 1; 2 and below is background. 0 takes segment 1 (2 pixels), 1 takes segment 3.
    truth = np.array([[0, 0, 0, 1, 1, 2, 2, 2]])
    labels = np.array([[0, 1, 1, 3, 3, 2, 2, 1]])
    assert merge_background(labels, truth, 2).tolist() == [[4, 1, 1, 3, 3, 4, 4, 1]]


def test_merge_background_without_a_foreground_is_one_segment():
    assert merge_background(np.array([[0, 1, 2]]), np.full((1, 3), 5), 5).tolist() == [[3, 3, 3]]


def test_merge_background_keeps_a_segment_for_each_class_there_is():
    # Both classes lie in segment 1. One of them is given segment 0, which holds background alone, and it stays.
    truth = np.array([[9, 0, 1, 1, 9]])
    labels = np.array([[0, 1, 1, 1, 2]])
    assert merge_background(labels, truth, 2).tolist() == [[0, 1, 1, 1, 3]]


def test_count_with_background_by_hand():
    # Class 0: segment 0 (3 of 4; 1 pixel of background in it). Segments 1 and 2 are background: 4 of its 5 pixels.
    truth = np.array([[0, 0, 0, 0, 2, 2, 2, 2, 2]])
    labels = np.array([[0, 0, 0, 1, 0, 1, 1, 2, 2]])
    counts = count(overlap(truth, labels, 3), background=True)
    assert as_lists(counts) == [[3, 0, 4], [1, 0, 1], [1, 0, 1]]
    assert counts.mean_iou() == pytest.approx((3 / 5 + 4 / 6) / 2)


def test_a_perfect_segmentation():
    truth = np.random.default_rng(0).integers(0, 4, (20, 30))
    for counts in (
        count_as_published(overlap(truth, 3 - truth, 4)),
        count(overlap(truth, 3 - truth, 4), background=False),
        count(overlap(truth, 3 - truth, 4), background=True),
    ):
        assert counts.mean_iou() == counts.pixel_accuracy() == 1
