import inspect
import sys

import numpy as np
import pytest
import torch

from diffcut_ros.core import affinity_matrix, eigenvectors, ncut, recursive_ncut
from support import reference
from support.graphs import photograph_graph
from support.scenes import same_partition, two_cliques

DEVICES = [
    'cpu',
    'blocks',
    pytest.param('cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')),
]
# Of these a GPU leaves the small one to the host; both have to do the right thing.
SMALL, LARGE = 30, 150


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch) -> str:
    """Return where to put a graph; with 'blocks' a CPU cuts it as a GPU does."""
    if request.param == 'blocks':
        monkeypatch.setattr(ncut, '_on_host', lambda _: False)
    return 'cpu' if request.param == 'blocks' else request.param


def nodes_of(tree, i: int) -> np.ndarray:
    return np.sort(tree.order[tree.start[i] : tree.stop[i]])


def assert_no_worse_than_reference(affinity: torch.Tensor, tree, literal: bool = False) -> None:
    """Compare every tree node, split or not, with the plain split of the same subset."""
    dense = affinity.double().numpy()
    for i in np.flatnonzero(tree.size > 1):
        nodes = nodes_of(tree, i)
        best = reference.best_split(dense[np.ix_(nodes, nodes)], literal).value
        assert min(tree.ncut[i], tree.tau) <= best + 1e-4


# --- graphs whose answer is known -------------------------------------------------------------------------------------


def test_two_cliques_with_a_weak_bridge():
    # cut = 0.5; the degrees sum to 9 + 0.5 and 16 + 0.5.
    tree = recursive_ncut(two_cliques(3, 4, bridge=0.5), tau=0.5)
    assert tree.cut(0.5).tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert tree.ncut[0] == pytest.approx(0.5 / 9.5 + 0.5 / 16.5, abs=1e-6)
    assert tree.cut(0.05).tolist() == [0] * 7


def test_large_cliques_with_a_weak_bridge(device):
    tree = recursive_ncut(two_cliques(100, 180, bridge=1.0).to(device), tau=0.5)
    assert same_partition(tree.cut(0.5), np.arange(280) >= 100)
    assert tree.ncut[0] == pytest.approx(1 / (100**2 + 1) + 1 / (180**2 + 1), abs=1e-6)


@pytest.mark.parametrize('n', [1, 2, 3, SMALL, LARGE])
@pytest.mark.parametrize('tau', [0.5, 1.0])
def test_a_graph_without_structure_is_one_segment(n, tau):
    # Every split of a complete graph with equal weights has NCut 1.
    assert recursive_ncut(torch.ones(n, n), tau).cut(tau).tolist() == [0] * n


def test_beyond_tau_1_everything_falls_apart():
    assert recursive_ncut(torch.ones(5, 5), tau=2.0).cut(1.5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize('scale', [1, 5])
def test_disconnected_parts_split_at_no_cost(device, scale):
    sizes = [3 * scale, 40 * scale, 2 * scale]
    tree = recursive_ncut(torch.block_diag(*(torch.ones(n, n) for n in sizes)).to(device), tau=0.5)
    assert same_partition(tree.cut(0.5), np.repeat([0, 1, 2], sizes))
    assert tree.levels() == [(0.0, 3)]


@pytest.mark.parametrize('n', [SMALL, LARGE])
def test_a_node_without_affinity_is_a_segment(n):
    affinity = torch.ones(n, n)
    for lonely in (2, 7):
        affinity[lonely] = affinity[:, lonely] = 0
    labels = recursive_ncut(affinity, tau=0.5).cut(0.01)
    assert labels.tolist() == [0, 0, 1, 0, 0, 0, 0, 2] + [0] * (n - 8)


@pytest.mark.parametrize('n', [2, SMALL, LARGE])
def test_nothing_is_alike(device, n):
    for affinity in (torch.zeros(n, n), torch.eye(n)):
        tree = recursive_ncut(affinity.to(device), tau=0.5)
        assert tree.cut(0.5).tolist() == list(range(n))
        assert tree.depth.max() == np.ceil(np.log2(n))  # equally good splits: the even one keeps the tree flat


@pytest.mark.parametrize('n', [SMALL, LARGE])
def test_nodes_that_lose_all_affinity_by_a_split(device, n):
    # Without affinity to themselves, nodes of a star are isolated as soon as they are parted from the middle.
    affinity = torch.zeros(n, n)
    affinity[0, 1:] = affinity[1:, 0] = 1
    tree = recursive_ncut(affinity.to(device), tau=2.0)
    # The middle keeps one node at last, as parting a single pair costs 2; all others are segments.
    assert sorted(np.bincount(tree.cut(2.0)).tolist()) == [1] * (n - 2) + [2]


@pytest.mark.parametrize(('n', 'parts', 'graphs'), [(28, 14, 300), (60, 25, 100), (147, 49, 20), (400, 60, 5)])
def test_graphs_that_fall_apart_into_many_parts(device, n, parts, graphs):
    """Their eigenvalue 1 has many eigenvectors."""
    for seed in range(graphs):
        random = np.random.default_rng(seed)
        part = random.permutation(np.concatenate([np.arange(parts), random.integers(0, parts, n - parts)]))
        affinity = (part[:, None] == part) * (random.uniform(0.5, 1, (n, n)) if seed % 2 else 1.0)
        affinity = torch.from_numpy(affinity + affinity.T).float().fill_diagonal_(0)
        assert same_partition(recursive_ncut(affinity.to(device), 0.3).cut(0.01), part), seed


@pytest.mark.parametrize('copies', [4, 20])
def test_copies_of_a_node_stay_together(copies):
    affinity = photograph_graph(0, 4)
    n = len(affinity)
    tree = recursive_ncut(affinity.repeat_interleave(copies, 0).repeat_interleave(copies, 1), tau=0.5)
    labels = tree.cut(0.5).reshape(n, copies)
    assert (labels == labels[:, :1]).all()
    assert same_partition(labels[:, 0], recursive_ncut(affinity, 0.5).cut(0.5))


# --- agreement with the plain method ----------------------------------------------------------------------------------


def test_equals_the_plain_method_on_100_graphs(device):
    index = []
    for seed in range(100):
        affinity = photograph_graph(seed, (8, 10, 12, 14, 16)[seed % 5])
        tau = (0.3, 0.5, 0.7, 0.85)[seed // 5 % 4]
        tree = recursive_ncut(affinity.to(device), tau)
        expected, gap = reference.recursive_ncut(affinity.double().numpy(), tau)
        index.append(reference.adjusted_rand_index(expected, tree.cut(tau)))
        # Eigenvectors of eigenvalues that (nearly) coincide are arbitrary: the plain method has no better claim then.
        assert index[-1] == 1.0 or gap <= 1e-3
        assert_no_worse_than_reference(affinity, tree)
    assert np.mean(index) >= 0.99


def test_blocks_equal_the_plain_method_on_small_subsets_too(monkeypatch):
    monkeypatch.setattr(ncut, '_on_host', lambda _: False)
    monkeypatch.setattr(ncut, '_SMALL', 20)
    for seed in range(12):
        affinity = photograph_graph(seed, 12)
        assert_no_worse_than_reference(affinity, recursive_ncut(affinity, 0.8))


def test_stored_values_are_those_of_the_definition(device):
    affinity = photograph_graph(2, 16)
    tree = recursive_ncut(affinity.to(device), tau=0.8)
    dense = affinity.double().numpy()
    splits = np.flatnonzero(tree.children[:, 0] >= 0)
    assert len(splits) > 10
    for i in splits:
        nodes = nodes_of(tree, i)
        part = np.isin(nodes, nodes_of(tree, tree.children[i, 0]))
        assert tree.ncut[i] == pytest.approx(reference.ncut_value(dense[np.ix_(nodes, nodes)], part), abs=1e-5)
        assert tree.size[tree.children[i]].sum() == tree.size[i]
        assert (tree.depth[tree.children[i]] == tree.depth[i] + 1).all()


@pytest.mark.parametrize('seed', range(6))
def test_a_cut_of_the_tree_equals_a_fresh_run(seed):
    affinity = photograph_graph(seed, 14)
    tree = recursive_ncut(affinity, 0.95)
    for tau in (0.0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        assert np.array_equal(tree.cut(tau), recursive_ncut(affinity, tau).cut(tau))


# --- growing a tree ---------------------------------------------------------------------------------------------------

TAUS = (0.0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def split_values(tree) -> np.ndarray:
    return np.sort(tree.ncut[tree.children[:, 0] >= 0])


@pytest.mark.parametrize('seed', range(8))
def test_a_grown_tree_equals_a_fresh_one(seed, device):
    affinity = photograph_graph(seed, (14, 22)[seed % 2]).to(device)
    for first, second in ((0.0, 0.4), (0.2, 0.9), (0.4, 0.6), (0.5, 0.95), (0.8, 0.9)):
        fresh = recursive_ncut(affinity, second)
        grown = recursive_ncut(affinity, second, tree=recursive_ncut(affinity, first))
        assert grown.tau == second
        np.testing.assert_allclose(split_values(grown), split_values(fresh), atol=1e-5)
        for tau in TAUS:
            if tau <= second:
                assert np.array_equal(grown.cut(tau), fresh.cut(tau))


@pytest.mark.parametrize('seed', range(4))
def test_a_tree_that_grows_in_many_steps(device, seed):
    affinity = photograph_graph(seed, 20).to(device)
    fresh = recursive_ncut(affinity, TAUS[-1])
    tree = None
    for tau in TAUS:
        tree = recursive_ncut(affinity, tau, tree=tree)
        assert np.array_equal(tree.cut(tau), fresh.cut(tau))
    assert sorted(tree.order) == list(range(len(affinity)))
    assert_no_worse_than_reference(affinity.cpu(), tree)


def test_the_tree_that_grows_is_left_as_it_is(device):
    affinity = photograph_graph(1, 18).to(device)
    tree, same = recursive_ncut(affinity, 0.4), recursive_ncut(affinity, 0.4)
    once, twice = recursive_ncut(affinity, 0.9, tree=tree), recursive_ncut(affinity, 0.9, tree=tree)
    for name in ('order', 'start', 'stop', 'children', 'ncut', 'middle', 'depth'):
        assert np.array_equal(getattr(tree, name), getattr(same, name))
        assert np.array_equal(getattr(once, name), getattr(twice, name))
    assert tree.vectors is same.vectors is None or torch.equal(tree.vectors, same.vectors)
    assert recursive_ncut(affinity, 0.3, tree=tree) is tree
    assert recursive_ncut(affinity, 0.4, tree=tree) is tree


def test_known_splits_are_not_searched_again(monkeypatch):
    affinity = photograph_graph(0, 20)
    value = recursive_ncut(affinity, 0.95).ncut[0]
    tree = recursive_ncut(affinity, value - 1e-3)  # refuses the first split, but has found it
    searched = []
    grow = ncut.TreeBuilder.grow

    def recorded(self, index, affinity, rows, *args):
        searched.append(len(rows))
        grow(self, index, affinity, rows, *args)

    monkeypatch.setattr(ncut.TreeBuilder, 'grow', recorded)
    assert recursive_ncut(affinity, value, tree=tree).cut(value).max() == 0
    assert searched == []
    grown = recursive_ncut(affinity, value + 1e-3, tree=tree)
    assert max(searched) == grown.size[1:].max() < len(affinity)


@pytest.mark.parametrize('n', [SMALL, LARGE])
def test_growing_with_nodes_that_lose_all_affinity(device, n):
    affinity = torch.zeros(n, n)
    affinity[0, 1:] = affinity[1:, 0] = 1
    affinity[3] = affinity[:, 3] = 0
    affinity, tree = affinity.to(device), None
    for tau in (0.0, 0.1, 0.5, 1.0, 1.5, 2.0):
        tree = recursive_ncut(affinity, tau, tree=tree)
    assert sorted(np.bincount(tree.cut(2.0)).tolist()) == [1] * (n - 2) + [2]


# --- what must not matter ---------------------------------------------------------------------------------------------


def test_same_input_same_tree(device):
    affinity = photograph_graph(4, 18).to(device)
    first, second = recursive_ncut(affinity, 0.9), recursive_ncut(affinity.clone(), 0.9)
    for name in ('order', 'start', 'children', 'ncut'):
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_devices_agree(device, monkeypatch):
    affinity = photograph_graph(2, 18)
    labels = recursive_ncut(affinity.to(device), 0.7).cut(0.7)
    monkeypatch.setattr(ncut, '_on_host', lambda _: True)
    assert np.array_equal(recursive_ncut(affinity, 0.7).cut(0.7), labels)


@pytest.mark.parametrize('seed', range(4))
def test_steps_of_one_product_as_on_a_gpu(monkeypatch, seed):
    """They are computed in the memory that the parts' matrices take next."""
    affinity = photograph_graph(seed, 24)
    expected = recursive_ncut(affinity, 0.9).cut(0.9)
    monkeypatch.setattr(ncut, '_on_host', lambda _: False)
    monkeypatch.setattr(eigenvectors, '_launch_bound', lambda _: True)
    assert same_partition(recursive_ncut(affinity, 0.9).cut(0.9), expected)


def test_the_order_of_nodes():
    affinity = photograph_graph(0, 16)
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(len(affinity)))
    labels = recursive_ncut(affinity, 0.7).cut(0.7)
    assert same_partition(recursive_ncut(affinity[shuffled][:, shuffled], 0.7).cut(0.7), labels[shuffled])


def test_the_sign_of_eigenvectors(monkeypatch):
    affinity = photograph_graph(4, 16)
    labels = recursive_ncut(affinity, 0.8).cut(0.8)
    start = ncut._start
    monkeypatch.setattr(ncut, '_start', lambda n: -start(n))
    assert np.array_equal(recursive_ncut(affinity, 0.8).cut(0.8), labels)


@pytest.mark.parametrize('scale', [1e-36, 1e-6, 1e6, 1e36, 3e38])
def test_the_scale_of_affinities(scale):
    affinity = photograph_graph(0, 12)
    assert np.array_equal(recursive_ncut(affinity * scale, 0.7).cut(0.7), recursive_ncut(affinity, 0.7).cut(0.7))


def test_dtype_and_memory_layout():
    affinity = photograph_graph(0, 12)
    labels = recursive_ncut(affinity, 0.7).cut(0.7)
    padded = torch.full((len(affinity) + 3, 2 * len(affinity)), -1.0)
    padded[3:, ::2] = affinity
    for other in (affinity.double(), affinity.T, padded[3:, ::2]):
        assert np.array_equal(recursive_ncut(other, 0.7).cut(0.7), labels)
    assert recursive_ncut(torch.ones(1, 1).expand(200, 200), 0.7).cut(0.7).max() == 0


def test_the_caller_keeps_matrix_and_threads():
    affinity = photograph_graph(0, 12).clone().requires_grad_()
    before, threads = affinity.detach().clone(), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        recursive_ncut(affinity, 0.7)
        affinity_matrix(torch.randn(20, 4))
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(affinity.detach(), before)


@pytest.mark.parametrize('seed', range(3))
def test_of_a_checked_matrix_the_upper_triangle_is_not_read(seed):
    affinity = photograph_graph(seed, 24)
    lower = torch.where(torch.ones_like(affinity).tril() > 0, affinity, torch.nan)
    fresh, grown = recursive_ncut(affinity, 0.9), None
    for tau in (0.2, 0.6, 0.9):
        grown = recursive_ncut(lower, tau, tree=grown, checked=True)
        assert np.array_equal(grown.cut(tau), fresh.cut(tau))


def test_a_deep_tree_needs_no_deep_stack():
    affinity = photograph_graph(15, 16)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 30)
    try:
        tree = recursive_ncut(affinity, tau=0.95)
    finally:
        sys.setrecursionlimit(limit)
    assert tree.depth.max() > 30


# --- bad input --------------------------------------------------------------------------------------------------------


def spoilt(value: float, mirrored: bool = True) -> torch.Tensor:
    affinity = torch.ones(300, 300)
    affinity[280, 3] = value
    if mirrored:
        affinity[3, 280] = value
    return affinity


@pytest.mark.parametrize(
    ('affinity', 'message'),
    [
        (torch.ones(2, 3), r'square matrix \[N, N\].*received \(2, 3\)'),
        (torch.ones(4), r'received \(4,\)'),
        (torch.tensor(1.0), r'received \(\)'),
        (torch.ones(0, 0), r'N >= 1, received \(0, 0\)'),
        (spoilt(-0.5), r'at least 0, received -0.5 at \[3, 280\]'),
        (spoilt(float('nan')), r'finite.*received nan at \[3, 280\]'),
        (spoilt(float('inf')), r'finite.*received inf at \[3, 280\]'),
        (spoilt(0.5, mirrored=False), r'symmetric matrix, received 1 at \[3, 280\] and 0.5 at \[280, 3\]; symmetrise'),
    ],
)
def test_bad_matrix(affinity, message):
    with pytest.raises(ValueError, match=message):
        recursive_ncut(affinity)


@pytest.mark.parametrize('tau', [-0.1, 2.1, float('nan')])
def test_bad_tau(tau):
    with pytest.raises(ValueError, match='tau: expected 0 to 2, received'):
        recursive_ncut(torch.ones(2, 2), tau)


def test_asymmetry_of_huge_affinities():
    with pytest.raises(ValueError, match=r'symmetric matrix.*\[3, 280\]'):
        recursive_ncut(3e38 * spoilt(0.5, mirrored=False))


def test_a_tree_of_another_graph():
    tree = recursive_ncut(torch.ones(3, 3))
    with pytest.raises(ValueError, match='tree: expected one of this affinity, of 4 nodes, received one of 3'):
        recursive_ncut(torch.ones(4, 4), 0.9, tree=tree)


def test_rounding_is_not_asymmetry():
    affinity = photograph_graph(0, 12)
    noisy = affinity * (1 + 1e-7 * torch.randn(affinity.shape, generator=torch.Generator().manual_seed(0)))
    assert np.array_equal(recursive_ncut(noisy, 0.7).cut(0.7), recursive_ncut(affinity, 0.7).cut(0.7))


def test_rounding_in_a_large_graph_is_not_asymmetry():
    # 3000 nodes of degrees from 1 to 3000: sums of many affinities beside sums of few.
    size = torch.linspace(0.02, 1, 3000) ** 2
    assert recursive_ncut(size[:, None] * size, 0.5).cut(0.5).max() == 0
