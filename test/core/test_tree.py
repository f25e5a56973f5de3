import numpy as np
import pytest
import torch

from diffcut_ros.core import affinity_matrix, recursive_ncut
from diffcut_ros.core.tree import cut_order
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


def test_boundaries_are_all_that_cuts_need():
    tree = random_tree(0.9)
    position, tau = tree.boundaries()
    assert (np.diff(position) > 0).all()
    for threshold in (0.0, 0.3, 0.6, 0.75, 0.8, 0.9):
        assert np.array_equal(cut_order(tree.order, position[tau < threshold]), tree.cut(threshold))
    assert len(position) > 10


@pytest.mark.parametrize('wanted', [1, 2, 5, 17, 1000])
def test_tau_for_gives_the_finest_cut_within_the_number(wanted):
    tree = random_tree(0.9)
    found = tree.cut(tree.tau_for(wanted)).max() + 1
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
        random_tree(0.5).tau_for(0)


def test_a_cut_like_another_one_stays_with_it():
    tree = random_tree(0.9)
    for other in (0.45, 0.5, 0.6, 0.7):
        before = tree.cut(other)
        for tau in (0.5, 0.6):
            found = tree.cut_like(before, tau, margin=0.2)
            if tau * 0.8 <= other <= tau * 1.2:
                assert np.array_equal(found, before)
            # Never coarser or finer than the cuts at both ends.
            assert refines(found, tree.cut(tau * 0.8))
            assert refines(tree.cut(tau * 1.2), found)


def refines(fine: np.ndarray, coarse: np.ndarray) -> bool:
    """Say whether each segment of one labelling lies in one segment of another."""
    return len(np.unique(np.stack([fine, coarse]), axis=1).T) == fine.max() + 1


def test_a_cut_like_any_other_one_is_the_cut_without_a_margin():
    tree = random_tree(0.9)
    before = np.random.default_rng(0).integers(0, 5, 150)
    for tau in (0.0, 0.3, 0.6, 0.9):
        assert np.array_equal(tree.cut_like(before, tau, margin=0.0), tree.cut(tau))


def test_a_cut_like_another_one_covers_it_best():
    # Four cliques: two pairs, the bridges within a pair stronger than the one between them.
    affinity = torch.full((16, 16), 0.01)
    for pair in (slice(0, 8), slice(8, 16)):
        affinity[pair, pair] = 0.2
    for i in range(0, 16, 4):
        affinity[i : i + 4, i : i + 4] = 1
    tree = recursive_ncut(affinity, 0.9)
    pairs, cliques = np.repeat([0, 1], 8), np.repeat([0, 1, 2, 3], 4)
    inner = tree.levels()[-1][0]
    assert np.array_equal(tree.cut(inner), pairs)
    assert np.array_equal(tree.cut(inner * 1.05), cliques)
    one_divided = np.repeat([0, 1, 2], [4, 4, 8])
    for before in (pairs, cliques, one_divided):
        for tau in (inner * 0.95, inner * 1.05):
            assert np.array_equal(tree.cut_like(before, tau, margin=0.2), before)
    # Graph nodes of which nothing is known do not count: those of the first pair's second half, then of all but one.
    known = np.repeat([0, -1, 2, 3], 4)
    for tau in (inner * 0.95, inner * 1.05):
        expected = np.repeat([0, 1, 2, 3] if tau > inner else [0, 0, 1, 2], 4)
        assert np.array_equal(tree.cut_like(known, tau, margin=0.2), expected)
        assert np.array_equal(tree.cut_like(np.full(16, -1), tau, margin=0.2), tree.cut(tau))
    # Beyond the margin tau alone decides.
    assert np.array_equal(tree.cut_like(cliques, inner * 0.5, margin=0.2), pairs)


def test_a_cut_like_another_one_beyond_the_tree_is_an_error():
    with pytest.raises(ValueError, match=r'tau: expected at most 0\.5.*received 0\.6'):
        random_tree(0.5).cut_like(np.zeros(150, int), 0.6, margin=0.2)
