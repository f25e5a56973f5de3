import numpy as np
import pytest
import torch

from diffcut_ros.core import affinity_matrix, recursive_ncut
from support.scenes import two_cliques


def random_tree(tau: float):
    features = torch.randn(150, 4, generator=torch.Generator().manual_seed(3))
    return recursive_ncut(affinity_matrix(features), tau)


def test_a_cut_equals_a_fresh_run_with_that_tau():
    deep = random_tree(1.0)
    for tau in (0.0, 0.2, 0.4, 0.6, 0.75, 0.9, 1.0):
        assert np.array_equal(deep.cut(tau), random_tree(tau).cut(tau))


def test_levels_are_where_the_cut_changes():
    tree = random_tree(0.9)
    levels = tree.levels()
    assert levels[0] == (0.0, 1)
    assert [count for _, count in levels] == sorted({count for _, count in levels})
    for (tau, count), (following, _) in zip(levels, [*levels[1:], (0.9, 0)], strict=True):
        assert tree.cut(following).max() + 1 == count
        if tau > 0:
            assert tree.cut(tau).max() + 1 < count


@pytest.mark.parametrize('wanted', [1, 2, 5, 17, 1000])
def test_cut_to_gives_the_finest_cut_within_the_number(wanted):
    tree = random_tree(0.9)
    found = tree.cut_to(wanted).max() + 1
    assert found == max(count for _, count in tree.levels() if count <= wanted)


def test_labels_follow_the_lowest_node():
    affinity = two_cliques(3, 4, bridge=0.1)
    swapped = torch.arange(6, -1, -1)
    assert recursive_ncut(affinity).cut(0.5).tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert recursive_ncut(affinity[swapped][:, swapped]).cut(0.5).tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_depth_and_ranges():
    tree = random_tree(0.9)
    assert sorted(tree.order) == list(range(150))
    for i, (first, second) in enumerate(tree.children):
        if first >= 0:
            assert (tree.start[first], tree.stop[second]) == (tree.start[i], tree.stop[i])
            assert tree.stop[first] == tree.start[second]
            assert tree.depth[first] == tree.depth[second] == tree.depth[i] + 1


def test_beyond_the_tree_is_an_error():
    with pytest.raises(ValueError, match=r'tau: expected at most 0\.5.*received 0\.6.*larger tau'):
        random_tree(0.5).cut(0.6)
    with pytest.raises(ValueError, match='n_segments: expected at least 1, received 0'):
        random_tree(0.5).cut_to(0)
