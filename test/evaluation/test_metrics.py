import numpy as np
import pytest
import skimage.metrics
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from diffcut_ros.evaluation.metrics import (
    BOUNDARY_TOLERANCE,
    BoundaryCounts,
    agreement,
    boundaries,
    boundary_counts,
    contingency_table,
    covering,
    rand_index,
    variation_of_information,
)

TRUTH = np.array([[0, 0, 0, 1]])
LABELS = np.array([[0, 0, 1, 1]])


def test_contingency_table():
    assert contingency_table(TRUTH, LABELS).tolist() == [[2, 1], [0, 1]]


def test_covering_by_hand():
    # Region 0 (3 px): best overlap 2 / 3 with label 0. Region 1 (1 px): 1 / 2 with label 1.
    assert covering(contingency_table(TRUTH, LABELS)) == pytest.approx((3 * 2 / 3 + 1 / 2) / 4)
    assert covering(contingency_table(LABELS, TRUTH)) == pytest.approx((2 * 2 / 3 + 2 * 1 / 2) / 4)


def test_rand_index_by_hand():
    # Pairs treated alike: 01 together; 03, 13 apart. Of the 6, 02, 12 and 23 differ.
    assert rand_index(contingency_table(TRUTH, LABELS)) == pytest.approx(3 / 6)


@pytest.mark.parametrize('metric', [covering, rand_index])
def test_the_same_partition_is_perfect_whatever_its_labels(metric):
    truth = np.random.default_rng(0).integers(0, 5, (20, 30))
    assert metric(contingency_table(truth, (truth * 3 + 1) % 7)) == pytest.approx(1.0)


def test_rand_index_counts_pairs():
    rng = np.random.default_rng(1)
    truth, labels = rng.integers(0, 4, 40), rng.integers(0, 3, 40)
    i, j = np.triu_indices(40, 1)
    expected = ((truth[i] == truth[j]) == (labels[i] == labels[j])).mean()
    assert rand_index(contingency_table(truth, labels)) == pytest.approx(expected)


def test_bad_input():
    with pytest.raises(ValueError, match=r'two label images of one size, received \(1, 4\) and \(2, 4\)'):
        contingency_table(TRUTH, np.zeros((2, 4), int))


def test_variation_of_information_by_hand():
    # Joint: 2/4, 1/4, 1/4; truth: 3/4, 1/4; labels: 1/2, 1/2. Entropies 1.5, 0.811 and 1 bits.
    expected = 2 * 1.5 - (2 - 0.75 * np.log2(3)) - 1
    assert variation_of_information(contingency_table(TRUTH, LABELS)) == pytest.approx(expected)
    assert variation_of_information(contingency_table(TRUTH, 5 - TRUTH)) == 0


def test_variation_of_information_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    truth, labels = rng.integers(0, 6, (30, 40)), rng.integers(0, 9, (30, 40))
    expected = sum(skimage.metrics.variation_of_information(truth, labels))
    assert variation_of_information(contingency_table(truth, labels)) == pytest.approx(expected)


def test_agreement_is_the_mean_over_people():
    people = [(TRUTH.ravel(), LABELS.ravel()), (LABELS.ravel(), LABELS.ravel()), (np.zeros(0, int), np.zeros(0, int))]
    mean = agreement(people)
    assert mean.covering == pytest.approx(((3 * 2 / 3 + 1 / 2) / 4 + 1) / 2)
    assert mean.rand_index == pytest.approx((3 / 6 + 1) / 2)
    assert agreement(people[2:]) is None


def test_boundaries_are_where_the_right_or_lower_neighbour_differs():
    assert boundaries(np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]])).astype(int).tolist() == [
        [0, 1, 0],
        [1, 1, 1],
        [0, 0, 0],
    ]


def halves(column: int, size_hw: tuple[int, int] = (30, 40)) -> np.ndarray:
    return np.broadcast_to(np.arange(size_hw[1]) >= column, size_hw).astype(int)


def test_boundaries_match_within_the_tolerance():
    # Diagonal 500 px, tolerance 3.75 px: a border of 300 px matches 3 columns away, but not 4.
    size_hw = (300, 400)
    assert boundary_counts(halves(200, size_hw), [halves(200, size_hw)]) == BoundaryCounts(300, 300, 300, 300)
    assert boundary_counts(halves(203, size_hw), [halves(200, size_hw)]) == BoundaryCounts(300, 300, 300, 300)
    assert boundary_counts(halves(204, size_hw), [halves(200, size_hw)]) == BoundaryCounts(300, 0, 300, 0)


def test_boundaries_match_one_to_one():
    # Two found borders beside a drawn one: it matches one of them, pixel by pixel.
    size_hw = (300, 400)
    doubled = halves(199, size_hw) + halves(201, size_hw)
    assert boundary_counts(doubled, [halves(200, size_hw)]) == BoundaryCounts(600, 300, 300, 300)
    # A second person drew the other one: now each found pixel matches somebody's.
    people = [halves(199, size_hw), halves(201, size_hw), np.zeros(size_hw, int)]
    both = boundary_counts(doubled, people)
    assert (both.found, both.drawn, both.drawn_matched) == (600, 600, 600)
    assert 300 <= both.found_matched <= 600


def test_as_many_boundaries_match_as_another_algorithm_finds():
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels, truth = (np.kron(rng.integers(0, 3, (6, 8)), np.ones((16, 20), int)) for _ in range(2))
        truth = np.roll(truth, rng.integers(-2, 3, 2), (0, 1))
        found, drawn = (np.argwhere(boundaries(image)) for image in (labels, truth))
        reach_px = BOUNDARY_TOLERANCE * np.hypot(*labels.shape)
        near = csr_array(np.linalg.norm(drawn[:, None] - found, axis=2) <= reach_px)
        expected = np.count_nonzero(maximum_bipartite_matching(near) >= 0)
        counts = boundary_counts(labels, [truth])
        assert counts == BoundaryCounts(len(found), expected, len(drawn), expected)


def test_boundary_scores_by_hand():
    counts = BoundaryCounts(found=10, found_matched=5, drawn=8, drawn_matched=2) + BoundaryCounts(0, 0, 2, 0)
    assert (counts.precision(), counts.recall()) == (0.5, 0.2)
    assert counts.f_measure() == pytest.approx(2 * 0.5 * 0.2 / 0.7)
    nothing = BoundaryCounts(0, 0, 7, 0)
    assert (nothing.precision(), nothing.recall(), nothing.f_measure()) == (1, 0, 0)


def test_borders_of_what_is_not_labelled_do_not_count():
    truth = halves(200, size_hw := (300, 400))
    truth[100:, 190:210] = -1
    assert boundary_counts(halves(200, size_hw), [truth]) == BoundaryCounts(100, 100, 100, 100)
    assert boundary_counts(halves(195, size_hw), [truth]) == BoundaryCounts(100, 0, 100, 0)
