import numpy as np
import pytest
import torch
from skimage import data
from skimage.transform import resize

from diffcut_ros.core import affinity_matrix, recursive_ncut
from diffcut_ros.core.ncut import best_split
from diffcut_ros.evaluation.metrics import contingency_table, rand_index
from support import reference
from support.scenes import same_partition, two_cliques


def photograph_graph(name: str, size: int) -> torch.Tensor:
    """Affinity of a photograph's pixels at size x size by colour and position."""
    image = resize(getattr(data, name)()[:, :, :3], (size, size), anti_aliasing=True)
    yy, xx = np.mgrid[:size, :size] / size
    values = np.concatenate([3 * image.reshape(-1, 3), yy.reshape(-1, 1), xx.reshape(-1, 1)], 1)
    return affinity_matrix(torch.from_numpy(np.concatenate([np.cos(values), np.sin(values)], 1)).float())


def test_two_cliques_with_a_weak_bridge():
    # cut = 0.5; the degrees sum to 9 + 0.5 and 16 + 0.5.
    tree = recursive_ncut(two_cliques(3, 4, bridge=0.5), tau=0.5)
    assert tree.cut(0.5).tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert tree.ncut[0] == pytest.approx(0.5 / 9.5 + 0.5 / 16.5)
    assert tree.cut(0.05).tolist() == [0] * 7


def test_large_cliques_take_the_iterative_solver():
    tree = recursive_ncut(two_cliques(100, 180, bridge=1.0), tau=0.5)
    assert same_partition(tree.cut(0.5), np.arange(280) >= 100)
    assert tree.ncut[0] == pytest.approx(1 / (100**2 + 1) + 1 / (180**2 + 1), rel=1e-4)


@pytest.mark.parametrize('n', [1, 2, 3, 200])
def test_a_graph_without_structure_is_one_segment(n):
    # Every split of a complete graph with equal weights has NCut 1.
    tree = recursive_ncut(torch.ones(n, n), tau=1.0 - 1e-6)
    assert tree.cut(0.5).tolist() == [0] * n
    assert tree.ncut[0] == (pytest.approx(1.0) if n > 1 else float('inf'))


def test_disconnected_parts_split_at_no_cost():
    affinity = torch.block_diag(torch.ones(3, 3), torch.ones(120, 120), torch.ones(2, 2))
    tree = recursive_ncut(affinity, tau=0.5)
    assert same_partition(tree.cut(0.5), np.repeat([0, 1, 2], [3, 120, 2]))
    assert tree.cut(1e-3).max() == 2


@pytest.mark.parametrize('size', [7, 16])
@pytest.mark.parametrize('name', ['coffee', 'astronaut', 'chelsea'])
def test_equals_the_plain_reference(name, size):
    affinity = photograph_graph(name, size)
    tree = recursive_ncut(affinity, tau=0.6)
    value, _ = reference.best_split(affinity.double().numpy())
    assert tree.ncut[0] == pytest.approx(value, abs=1e-4)
    expected = reference.recursive_ncut(affinity.double().numpy(), 0.6)
    assert rand_index(contingency_table(expected, tree.cut(0.6))) > 0.99


def test_stored_values_are_those_of_the_definition():
    affinity = photograph_graph('coffee', 12)
    tree = recursive_ncut(affinity, tau=0.8)
    dense = affinity.double().numpy()
    for i in np.flatnonzero(tree.children[:, 0] >= 0):
        nodes = tree.order[tree.start[i] : tree.stop[i]]
        first = tree.children[i, 0]
        part = np.isin(nodes, tree.order[tree.start[first] : tree.stop[first]])
        assert tree.ncut[i] == pytest.approx(reference.ncut_value(dense[np.ix_(nodes, nodes)], part), abs=1e-5)


def test_same_input_same_result():
    affinity = photograph_graph('astronaut', 16)
    first, second = recursive_ncut(affinity, 0.9), recursive_ncut(affinity.clone(), 0.9)
    assert np.array_equal(first.order, second.order)
    assert np.array_equal(first.ncut, second.ncut)


def test_best_split_says_which_part():
    value, part = best_split(two_cliques(2, 3, bridge=0.1))
    assert value == pytest.approx(0.1 / 4.1 + 0.1 / 9.1)
    assert part.tolist() in ([True, True, False, False, False], [False, False, True, True, True])


@pytest.mark.parametrize(
    ('affinity', 'message'),
    [
        (torch.ones(2, 3), r'square matrix \[N, N\].*received \(2, 3\)'),
        (torch.ones(0, 0), r'received \(0, 0\)'),
        (torch.tensor([[1.0, -0.5], [-0.5, 1.0]]), 'at least 0, received -0.5 to 1.0'),
        (torch.tensor([[1.0, float('nan')], [0.5, 1.0]]), 'finite entries'),
        (torch.tensor([[1.0, float('inf')], [0.5, 1.0]]), 'finite entries'),
    ],
)
def test_bad_input(affinity, message):
    with pytest.raises(ValueError, match=message):
        recursive_ncut(affinity)
