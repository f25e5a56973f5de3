"""No clear split is missed, at any size and tau, and no order of taus changes a label."""

import functools

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from skimage import data

from diffcut_ros.core import affinity_matrix, ncut, recursive_ncut
from diffcut_ros.core.eigenvectors import BLOCK, FRESH, Graph, fresh_vectors, solve
from diffcut_ros.features import create_extractor
from support.scenes import same_partition

TAUS = (0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9)
DEEPEST = 0.95
SLOW = pytest.mark.slow
# Cells along the shorter side, 576 to 9216 nodes.
SIDES = [24, 32, *(pytest.param(side, marks=SLOW) for side in (48, 64, 96))]
SIZES = [576, 1024, *(pytest.param(n, marks=SLOW) for n in (2304, 4096, 9216))]


@pytest.fixture(params=['host', 'blocks'])
def way(request, monkeypatch) -> None:
    """With 'blocks' a CPU cuts a graph as a GPU does."""
    monkeypatch.setattr(ncut, '_on_host', lambda _: request.param == 'host')


@functools.lru_cache(maxsize=2)
def photograph(name: str, side: int) -> torch.Tensor:
    """Return the affinity of a whole photograph, up to 1.5 times as long as `side`, or square from 96 on."""
    image = getattr(data, name)()[:, :, :3]
    shorter = min(image.shape[:2])
    height, width = (min(length, shorter * (3 if side < 96 else 2) // 2) for length in image.shape[:2])
    if side == 96:
        height = width = shorter
    features = create_extractor('color', device='cpu', cells=side)(np.ascontiguousarray(image[:height, :width]))
    return affinity_matrix(features.flat())


@functools.lru_cache(maxsize=2)
def groups(count: int, n: int, noise: float) -> torch.Tensor:
    """Return the affinity of n random features around `count` means, the first group ten times as large as others."""
    generator = torch.Generator().manual_seed(count)
    share = torch.ones(count)
    share[0] = 10
    group = torch.searchsorted(share.cumsum(0) / share.sum(), torch.linspace(0, 1 - 1e-6, n))
    means = torch.randn(count, 64, generator=generator)
    return affinity_matrix(means[group] + noise * torch.randn(n, 64, generator=generator))


def assert_right_at_every_tau(affinity: torch.Tensor) -> None:
    whole = recursive_ncut(affinity, DEEPEST)
    assert_best_root_split(affinity, whole)
    for tau in TAUS:
        assert np.array_equal(recursive_ncut(affinity, tau).cut(tau), whole.cut(tau)), tau


def second_eigenvector(dense: np.ndarray) -> tuple[np.ndarray, float]:
    """Return x, and the distance of its eigenvalue from the next, by ARPACK."""
    scale = 1 / np.sqrt(dense.sum(1))
    values, vectors = scipy.sparse.linalg.eigsh(scale[:, None] * dense * scale, k=3, which='LA', tol=1e-9)
    return scale * vectors[:, 1], values[1] - values[0]


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return abs(x @ y) / np.linalg.norm(x) / np.linalg.norm(y)


def assert_best_root_split(affinity: torch.Tensor, tree) -> None:
    """Compare the root's split with that of ARPACK's eigenvector and of all thresholds, in float64."""
    dense = affinity.double().numpy()
    degree = dense.sum(1)
    x, gap = second_eigenvector(dense)
    order = np.argsort(x)
    ordered = dense[np.ix_(order, order)]
    before = np.tril(ordered, -1).sum(1)
    cut = np.cumsum(degree[order] - np.diag(ordered) - 2 * before)[:-1]
    first = np.cumsum(degree[order])[:-1]
    ncut = cut / first + cut / (degree.sum() - first)
    assert min(tree.ncut[0], tree.tau) <= ncut.min() + 1e-4
    # Of eigenvectors whose eigenvalues (nearly) coincide, none is the wanted one; nor of equally good thresholds.
    if gap > 1e-3 and tree.ncut[0] < tree.tau and np.sum(ncut < ncut.min() + 1e-4) == 1:
        part = np.isin(np.arange(len(dense)), order[: ncut.argmin() + 1])
        middle = tree.start[tree.children[0, 1]]
        assert same_partition(np.isin(np.arange(len(dense)), tree.order[:middle]), part)


@pytest.mark.parametrize('side', SIDES)
@pytest.mark.parametrize('name', ['coffee', 'astronaut', 'chelsea', 'rocket'])
def test_photographs(way, name, side):
    assert_right_at_every_tau(photograph(name, side))


@pytest.mark.parametrize('n', SIZES)
@pytest.mark.parametrize(('count', 'noise'), [(2, 1.0), (5, 1.0), (40, 0.5)])
def test_groups(way, count, noise, n):
    """With 40 groups, a block of 16 vectors cannot hold all that parts look for."""
    assert_right_at_every_tau(groups(count, n, noise))


def test_the_sizes_at_which_random_vectors_were_taken_for_an_answer(way):
    assert_right_at_every_tau(photograph('coffee', 48))
    assert_right_at_every_tau(groups(2, 4096, 1.0))


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('side', [32, *(pytest.param(side, marks=SLOW) for side in (48, 64))])
def test_any_order_of_taus(way, side, seed):
    affinity = photograph(('coffee', 'chelsea')[seed % 2], side)
    whole = recursive_ncut(affinity, DEEPEST)
    tree = None
    for tau in np.random.default_rng(seed).choice(TAUS, 6):
        tree = recursive_ncut(affinity, tau, tree=tree)
        assert np.array_equal(tree.cut(tau), whole.cut(tau))


@pytest.mark.parametrize('n', [600, 2000, 4096])
@pytest.mark.parametrize('tau', [0.3, 0.6, 0.8])
def test_a_block_that_knows_nothing_of_the_wanted_vector(n, tau):
    """Random vectors have small Ritz values and residuals: neither says that there is nothing to find."""
    affinity = groups(2, n, 1.0)
    block = torch.ones(n, BLOCK)
    block[:, BLOCK - FRESH :] = fresh_vectors(n, FRESH)
    (found,) = solve([Graph(affinity, affinity.sum(1), block, FRESH)], tau)
    assert cosine(found.double().numpy(), second_eigenvector(affinity.double().numpy())[0]) > 1 - 1e-6


def test_vectors_that_have_converged_do_not_hide_a_better_one():
    """A block of eigenvectors, all but the wanted one: residuals are 0, and yet the fresh vectors have to be heard."""
    affinity = groups(5, 1000, 1.0)
    degree = affinity.double().sum(1)
    scale = degree.rsqrt()
    vectors = torch.linalg.eigh(scale[:, None] * affinity.double() * scale)[1].flip(1)
    block = torch.cat([vectors[:, 2 : 2 + BLOCK - FRESH].float(), fresh_vectors(1000, FRESH)], 1)
    (found,) = solve([Graph(affinity, affinity.sum(1), block, FRESH)], 0.9)
    assert cosine(found.double().numpy(), (scale * vectors[:, 1]).numpy()) > 1 - 1e-6
