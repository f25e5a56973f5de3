import numpy as np
import pytest
import scipy.linalg
import torch

from diffcut_ros.core import eigenvectors, ncut, recursive_ncut
from diffcut_ros.core.affinity import graph_of
from diffcut_ros.core.eigenvectors import BLOCK, Graph, solve
from diffcut_ros.features import create_extractor
from support.graphs import photograph_graph
from support.scenes import quadrants, two_cliques


def graph(affinity: torch.Tensor, block: torch.Tensor) -> Graph:
    return Graph(affinity, affinity.sum(1), block, BLOCK)


def start(n: int) -> torch.Tensor:
    return torch.randn(n, BLOCK, generator=torch.Generator().manual_seed(1))


def second_eigenvector(affinity: np.ndarray) -> tuple[np.ndarray, float]:
    """Return x and theta of the definition, by SciPy."""
    degree = np.diag(affinity.sum(1))
    values, vectors = scipy.linalg.eigh(degree - affinity, degree, subset_by_index=[1, 1])
    return vectors[:, 0], 1 - values[0]


def angle(x: np.ndarray, y: np.ndarray) -> float:
    cosine = abs(x @ y) / np.linalg.norm(x) / np.linalg.norm(y)
    return float(np.arccos(min(1.0, cosine)))


@pytest.mark.parametrize('seed', range(8))
def test_iteration_finds_the_second_eigenvector(seed):
    affinity = photograph_graph(seed, 14)
    (found,) = solve([graph(affinity, start(len(affinity)))], tau=2.0)
    expected, _ = second_eigenvector(affinity.double().numpy())
    assert angle(found.double().numpy(), expected) < 1e-3


@pytest.mark.parametrize('seed', range(4))
def test_steps_of_one_product_as_on_a_gpu(monkeypatch, seed):
    affinity = photograph_graph(seed, 14)
    (expected,) = solve([graph(affinity, start(len(affinity)))], tau=2.0)
    monkeypatch.setattr(eigenvectors, '_launch_bound', lambda _: True)
    (found,) = solve([graph(affinity, start(len(affinity)))], tau=2.0)
    assert not torch.equal(found, expected)  # other products, other rounding
    assert angle(found.double().numpy(), expected.double().numpy()) < 1e-3


def test_graphs_of_several_sizes_at_once():
    affinities = [photograph_graph(seed, cells) for seed, cells in ((0, 8), (1, 12), (2, 16))]
    together = solve([graph(affinity, start(len(affinity))) for affinity in affinities], tau=2.0)
    for affinity, found in zip(affinities, together, strict=True):
        (alone,) = solve([graph(affinity, start(len(affinity)))], tau=2.0)
        assert torch.equal(found, alone)


def test_no_iteration_for_a_graph_that_cannot_be_split():
    # theta of a complete graph is 0: no NCut value is below 1.
    assert solve([graph(torch.ones(50, 50), start(50))], tau=0.9) == [None]


def test_a_graph_may_have_fewer_eigenvectors_than_the_block_has_vectors():
    (found,) = solve([graph(two_cliques(30, 50, bridge=0.0), start(80))], tau=0.5)
    assert found[:30].std() < 1e-5
    assert found[30:].std() < 1e-5
    assert abs(found[0] - found[40]) > 1e-3


def test_equal_vectors_in_the_block():
    affinity = photograph_graph(0, 10)
    (found,) = solve([graph(affinity, start(len(affinity))[:, :1].expand(-1, BLOCK))], tau=2.0)
    expected, _ = second_eigenvector(affinity.double().numpy())
    assert angle(found.double().numpy(), expected) < 1e-3


def test_eigenvalues_far_below_zero():
    # Two halves that are alike across, not within: eigenvalues near -1 are the largest by magnitude.
    random = np.random.default_rng(0)
    affinity = np.kron([[0.0, 1], [1, 0]], np.ones((40, 40))) + 0.3 * (random.random((80, 80)) < 0.1)
    affinity = (affinity + affinity.T).astype(np.float32)
    (found,) = solve([graph(torch.from_numpy(affinity), start(80))], tau=2.0)
    expected, theta = second_eigenvector(affinity.astype(float))
    assert theta > 0
    assert angle(found.double().numpy(), expected) < 1e-3


def test_without_convergence_the_host_decides(monkeypatch):
    monkeypatch.setattr(eigenvectors, '_ROUNDS', 1)
    affinity = photograph_graph(1, 12)
    (found,) = solve([graph(affinity, start(len(affinity)))], tau=2.0)
    expected, _ = second_eigenvector(affinity.double().numpy())
    assert angle(found.double().numpy(), expected) < 1e-3


@pytest.mark.parametrize('shape', [(64, 128), (480, 640), (90, 90)])
@pytest.mark.parametrize('tau', [0.5, 0.9])
def test_flat_colours_converge(monkeypatch, shape, tau):
    """As a simulated camera shows them: cells that are exactly equal, whose graph has few eigenvalues other than 0."""

    def host(*_):
        raise AssertionError('the host takes long for so many nodes')

    monkeypatch.setattr(ncut, '_on_host', lambda _: False)
    monkeypatch.setattr(eigenvectors, 'second_eigenvector', host)
    image = quadrants(*shape)[0]
    affinity = graph_of(create_extractor('color', device='cpu')(image))
    assert recursive_ncut(affinity, tau).cut(tau).max() >= 3


def test_a_vector_of_zeros_in_the_block():
    affinity = photograph_graph(0, 10)
    block = start(len(affinity))
    block[:, 3] = 0
    (found,) = solve([graph(affinity, block)], tau=2.0)
    expected, _ = second_eigenvector(affinity.double().numpy())
    assert angle(found.double().numpy(), expected) < 1e-3
