import numpy as np
import pytest

from diffcut_ros.evaluation.metrics import contingency_table, covering, rand_index

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
