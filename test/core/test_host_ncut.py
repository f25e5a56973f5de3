"""What the compiled code of the host is made of, against definitions in float64."""

import numpy as np
import pytest
import scipy.linalg
import torch

from diffcut_ros.core import host_ncut, recursive_ncut
from diffcut_ros.core.host_ncut import best_threshold, second_eigenvector
from support import reference
from support.graphs import photograph_graph
from support.scenes import same_partition, two_cliques


def start(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def exact(affinity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues of A, falling, and vectors x."""
    degree = affinity.astype(float).sum(1)
    values, vectors = scipy.linalg.eigh(affinity / np.sqrt(degree) / np.sqrt(degree)[:, None])
    return values[::-1], (vectors / np.sqrt(degree)[:, None])[:, ::-1]


def angle(x: np.ndarray, y: np.ndarray) -> float:
    cosine = abs(x.astype(float) @ y) / np.linalg.norm(x) / np.linalg.norm(y)
    return float(np.arccos(min(1.0, cosine)))


# --- the second eigenvector -------------------------------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(8))
def test_the_second_eigenvector(seed):
    affinity = photograph_graph(seed, (3, 6, 10, 16)[seed % 4]).numpy()
    values, vectors = exact(affinity)
    x = second_eigenvector(affinity, start(len(affinity), seed)).astype(float)
    assert x @ affinity @ x / (x**2 @ affinity.sum(1)) > values[1] - 1e-5
    assert angle(x, vectors[:, 1]) < 1e-3 or values[1] - values[2] < 1e-3


@pytest.mark.parametrize('n', [2, 3, 4, 5, 7, 60, 301])
def test_a_chain(n):
    """Its eigenvalues cos(pi k / (n - 1)) lie the closer, the longer it is: the search goes on to the end."""
    affinity = np.diag(np.ones(n - 1, np.float32), 1)
    affinity += affinity.T
    x = second_eigenvector(affinity, start(n))
    assert angle(x, np.cos(np.pi * np.arange(n) / (n - 1))) < 0.02


def test_eigenvalues_far_below_zero():
    random = np.random.default_rng(0)
    affinity = np.kron([[0.0, 1], [1, 0]], np.ones((40, 40))) + 0.3 * (random.random((80, 80)) < 0.1)
    affinity = (affinity + affinity.T).astype(np.float32)
    values, vectors = exact(affinity)
    assert values[-1] < -0.9
    assert angle(second_eigenvector(affinity, start(80)), vectors[:, 1]) < 1e-3


@pytest.mark.parametrize('seed', range(4))
def test_a_start_that_hardly_knows_the_wanted_vector(seed):
    """Its share of it is what rounding left, 1e-8: nothing is decided before it has grown."""
    affinity = photograph_graph(seed, 16).numpy()
    _, vectors = exact(affinity)
    u = vectors[:, 1] * np.sqrt(affinity.sum(1))
    q = start(len(affinity)).astype(float)
    q -= u * (u @ q) / (u @ u)
    assert angle(second_eigenvector(affinity, q.astype(np.float32)), vectors[:, 1]) < 1e-3


@pytest.mark.parametrize('seed', range(20))
def test_the_bound_of_what_is_missed(seed):
    """Equation (1): no start has less of an eigenvector above all Ritz values than it says."""
    random = np.random.default_rng(seed)
    n = 40
    values = np.sort(random.uniform(-0.5, 0.9, n))
    values[-2:] = 0.95, 0.97
    basis = np.linalg.qr(random.standard_normal((n, n)))[0]
    matrix = basis * values @ basis.T
    for share in (1.0, 1e-3, 1e-6):
        q = random.standard_normal(n)
        q -= (1 - share) * basis[:, -2:] @ (basis[:, -2:].T @ q)
        q /= np.linalg.norm(q)
        cosine = abs(basis[:, -2:].T @ q)
        alpha, beta, vectors = np.zeros(n), np.zeros(n), [q]
        for k in range(n - 1):
            y = matrix @ vectors[-1]
            alpha[k] = vectors[-1] @ y
            for _ in range(2):
                y -= np.stack(vectors, 1) @ (np.stack(vectors) @ y)
            beta[k] = np.linalg.norm(y)
            vectors.append(y / beta[k])
            above, growth = host_ncut._above(alpha, beta, k + 1, 0.9499)
            ritz = scipy.linalg.eigh_tridiagonal(alpha[: k + 1], beta[:k])[0]
            assert above == (ritz > 0.9499).sum()
            assert host_ncut._largest_ritz_value(alpha, beta, k + 1) == pytest.approx(ritz[-1], abs=1e-8)
            if not above:
                assert (cosine <= (1 + 1e-6) / growth).all()


def test_normally_distributed_vectors_have_a_small_share_as_rarely_as_assumed():
    """|c_1| < delta / (0.8 sqrt(n)) with a probability of at most delta."""
    for n in (3, 10, 100):
        q = np.random.default_rng(n).standard_normal((200_000, n))
        cosine = np.abs(q[:, 0]) / np.linalg.norm(q, axis=1)
        for delta in (0.3, 0.1, 0.03):
            assert np.mean(cosine < delta / (0.8 * np.sqrt(n))) < 1.02 * delta


# --- the best threshold -----------------------------------------------------------------------------------------------


def in_order(affinity: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the arguments of `best_threshold` for an affinity, float64 [n, n], in the order of x."""
    return affinity.sum(1), np.tril(affinity, -1).sum(1), np.diag(affinity).copy()


def test_a_chain_of_three_is_cut_at_its_weak_link():
    # Weights 1 and 3: cutting the weak link costs 1 / 1 + 1 / 7, the strong one 3 / 5 + 3 / 3.
    value, position = best_threshold(*in_order(np.array([[0.0, 1, 0], [1, 0, 3], [0, 3, 0]])))
    assert (value, position) == (pytest.approx(8 / 7, abs=1e-6), 1)


@pytest.mark.parametrize('n', [2, 3, 5, 9, 17, 50])
def test_all_thresholds_by_brute_force(n):
    affinity = np.random.default_rng(n).random((n, n)) ** 8
    affinity += affinity.T
    value, position = best_threshold(*in_order(affinity))
    tried = [reference.ncut_value(affinity, np.arange(n) < k) for k in range(1, n)]
    assert value == pytest.approx(min(tried), abs=1e-6)
    assert position == np.argmin(tried) + 1


def test_of_equally_good_splits_the_even_one():
    assert best_threshold(*in_order(np.ones((9, 9)))) == (1.0, 4)
    assert best_threshold(*in_order(np.eye(4))) == (0.0, 2)


def test_a_light_part_beside_a_heavy_one():
    # Beside degrees of 1e9, a node of degree 2e-3 must keep its own: NCut = 1e-3 / 2e-3 + 1e-3 / 1e12.
    affinity = np.full((1000, 1000), 1e6)
    affinity[-1] = affinity[:, -1] = 0
    affinity[-1, -1] = affinity[0, -1] = affinity[-1, 0] = 1e-3
    assert best_threshold(*in_order(affinity)) == (pytest.approx(0.5, abs=1e-6), 999)


# --- all of it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('n', [2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33])
def test_any_number_of_nodes(n):
    """Four rows at a time, and those that are left; nodes in any order."""
    affinity = two_cliques(n // 2, n - n // 2, bridge=1e-3).numpy()
    shuffled = np.random.default_rng(n).permutation(n)
    affinity = torch.from_numpy(affinity[shuffled][:, shuffled])
    assert same_partition(recursive_ncut(affinity, 0.5).cut(0.5), shuffled >= n // 2)


def test_affinities_too_small_for_normal_numbers():
    small = two_cliques(20, 30, bridge=0.5) * 1e-40
    small[0, 1] = small[1, 0] = 1.0  # the scale is that of the largest
    tree = recursive_ncut(small, 0.5)
    assert sorted(tree.order) == list(range(50))
    assert same_partition(tree.cut(0.5)[:2], [0, 0])


@pytest.mark.parametrize('seed', range(12))
def test_sparse_graphs_against_brute_force(seed):
    """Nodes with few others, none to themselves, in parts: degrees from 1e-6 to 10."""
    random = np.random.default_rng(seed)
    n = int(random.integers(5, 120))
    affinity = random.random((n, n)) ** 20 * (random.random((n, n)) < 0.1)
    affinity = torch.from_numpy(affinity + affinity.T).float().fill_diagonal_(0)
    isolated = affinity.sum(1) == 0
    dense = (affinity + torch.diag(isolated)).double().numpy()
    tree = recursive_ncut(affinity, 0.6)
    for i in np.flatnonzero(tree.size > 1):
        nodes = np.sort(tree.order[tree.start[i] : tree.stop[i]])
        part = dense[np.ix_(nodes, nodes)]
        part += np.diag(part.sum(1) == 0)
        if exact(part)[0][1] < 1 - 1e-5:  # else it falls apart, and any of its splits at no cost will do
            assert min(tree.ncut[i], tree.tau) <= reference.best_split(part, False).value + 1e-4
        else:
            assert tree.ncut[i] < 2e-5
