from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffcut_ros.core import FeatureMap
from diffcut_ros.evaluation import coherence


def test_similarity_by_hand():
    features = torch.tensor([[[3.0, 0.0], [0.0, 2.0]], [[-1.0, 0.0], [5.0, 5.0]]])
    found = coherence.similarity_map(FeatureMap(features, (20, 20)), (0, 0))
    assert found.tolist() == [pytest.approx([1, 0]), pytest.approx([-1, 0.5**0.5])]


def test_similarity_to_another_image():
    reference = FeatureMap(torch.eye(2)[None], (10, 20))
    target = FeatureMap(torch.tensor([[[0.0, 4.0]], [[1.0, 1.0]], [[1.0, 0.0]]]), (30, 10))
    found = coherence.similarity_map(reference, (0, 1), target)
    assert found.shape == (3, 1)
    assert found[:, 0].tolist() == pytest.approx([1, 0.5**0.5, 0])


def test_bad_cells_and_targets():
    feature_map = FeatureMap(torch.ones(3, 4, 2), (30, 40))
    with pytest.raises(ValueError, match=r'cell: expected .* grid of 3 x 4 cells, received \(3, 0\)'):
        coherence.similarity_map(feature_map, (3, 0))
    with pytest.raises(ValueError, match='expected features of 2 channels, as the reference has, received 5'):
        coherence.similarity_map(feature_map, (0, 0), FeatureMap(torch.ones(3, 4, 5), (30, 40)))


def test_a_cell_has_the_class_of_most_of_its_pixels():
    labels = np.array([[7, 7, 0, 0, 0, -1], [7, 0, 3, 3, -1, -1]])
    assert coherence.cell_classes(labels, (1, 3)).tolist() == [[7, 0, -1]]
    assert np.array_equal(coherence.cell_classes(labels, (2, 6)), labels)


def test_cells_are_those_of_a_feature_map():
    """Cells of unequal size: of 5 columns, the first of two cells has the columns before 2.5."""
    assert coherence.cell_classes(np.array([[1, 1, 0, 0, 0]]), (1, 2)).tolist() == [[1, 0]]


def test_a_grid_finer_than_the_pixels():
    with pytest.raises(ValueError, match='at most one cell per pixel of 2 x 3, received 2 x 4'):
        coherence.cell_classes(np.zeros((2, 3), int), (2, 4))


def test_perfect_and_inverted_features():
    classes = np.array([0, 0, 1, 1, 2, 2])
    assert coherence.same_class_roc(torch.eye(3)[classes], classes).area == 1
    inverted = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert coherence.same_class_roc(inverted, np.array([0, 0, 1, 1])).area == pytest.approx(0.25)


def test_area_is_the_share_of_rightly_ordered_pairs():
    """By the definition: a pair of one class against a pair of two, equal ones counted half."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(-1, 3, (25,), generator=generator).numpy()
    features = torch.eye(4)[np.maximum(classes, 0)] + 0.8 * torch.randn(25, 4, generator=generator)
    found = coherence.same_class_roc(features, classes)
    unit = F.normalize(features, dim=1)
    same, other = [], []
    for i, j in combinations(np.flatnonzero(classes >= 0), 2):
        (same if classes[i] == classes[j] else other).append(float(unit[i] @ unit[j]))
    same, other = np.array(same)[:, None], np.array(other)
    expected = (same > other).mean() + (same == other).mean() / 2
    assert 0.6 < expected < 0.95
    assert found.area == pytest.approx(expected, abs=1e-6)
    assert found.pairs == same.size + other.size
    assert (found.false_positive_rate[[0, -1]], found.true_positive_rate[[0, -1]]) == (
        pytest.approx([0, 1]),
        pytest.approx([0, 1]),
    )


def test_pairs_chosen_at_random_give_nearly_the_same_area():
    generator = torch.Generator().manual_seed(1)
    classes = torch.randint(0, 4, (400,), generator=generator).numpy()
    features = torch.eye(4)[classes] + 0.8 * torch.randn(400, 4, generator=generator)
    every = coherence.same_class_roc(features, classes)
    some = coherence.same_class_roc(features, classes, pairs=30_000)
    assert (every.pairs, some.pairs) == (400 * 399 // 2, 30_000)
    assert some.area != every.area
    assert some.area == pytest.approx(every.area, abs=0.01)


def test_no_element_is_paired_with_itself():
    first, second = coherence._choose_pairs(50, 500, np.random.default_rng(0))
    assert (first != second).all()
    assert np.bincount(second, minlength=50).min() > 0


@pytest.mark.parametrize(
    ('classes', 'found'),
    [([1, 1, 1], '3 of 3'), ([0, 1, 2], '0 of 3'), ([-1, -1, 2], 'none, as fewer than two cells have a class')],
)
def test_pairs_of_one_kind_alone(classes, found):
    with pytest.raises(ValueError, match=f'expected pairs of one class and pairs of two, .*: {found}'):
        coherence.same_class_roc(torch.ones(3, 2), np.array(classes))


def test_unequal_numbers():
    with pytest.raises(ValueError, match='expected one for each of 3 features, received 2'):
        coherence.same_class_roc(torch.ones(3, 2), np.zeros(2, int))
