import numpy as np
import pytest

from diffcut_ros.core.thresholds import SortedGraphs, best_thresholds
from support import reference


def sorted_graphs(*graphs: tuple[np.ndarray, np.ndarray], padded: int = 0) -> SortedGraphs:
    """Describe graphs, each an affinity float64 [n, n] in the order of x and x, float64 [n], rising."""
    n = max(padded, *(len(x) for _, x in graphs))

    def stack(rows, fill=0.0):
        return np.stack([np.pad(row, (0, n - len(row)), constant_values=fill) for row in rows])

    return SortedGraphs(
        size=np.array([len(x) for _, x in graphs]),
        x=stack([x for _, x in graphs], np.inf),
        degree=stack([affinity.sum(1) for affinity, _ in graphs]),
        before=stack([np.tril(affinity, -1).sum(1) for affinity, _ in graphs]),
        itself=stack([np.diag(affinity) for affinity, _ in graphs]),
    )


def random_graph(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    affinity = random.random((n, n)) ** 8
    return affinity + affinity.T, np.sort(random.standard_normal(n))


def test_chain_of_three():
    # Weights 1 and 3: cutting the weak link costs 1 / 1 + 1 / 7, the strong one 3 / 5 + 3 / 3.
    affinity = np.array([[0.0, 1, 0], [1, 0, 3], [0, 3, 0]])
    value, position = best_thresholds(sorted_graphs((affinity, np.array([-1.0, 0, 1]))))
    assert value.tolist() == pytest.approx([8 / 7], abs=1e-6)
    assert position.tolist() == [1]


def test_all_thresholds_by_brute_force():
    graphs = [random_graph(seed, n) for seed, n in enumerate((2, 3, 5, 9, 17, 17))]
    values, positions = best_thresholds(sorted_graphs(*graphs, padded=20))
    for (affinity, x), value, position in zip(graphs, values, positions, strict=True):
        tried = [reference.ncut_value(affinity, np.arange(len(x)) < k) for k in range(1, len(x))]
        assert value == pytest.approx(min(tried), abs=1e-6)
        assert position == np.argmin(tried) + 1


def test_of_equally_good_splits_the_even_one():
    value, position = best_thresholds(sorted_graphs((np.ones((9, 9)), np.arange(9.0)), (np.eye(4), np.arange(4.0))))
    assert value.tolist() == [1.0, 0.0]
    assert position.tolist() == [4, 2]


def test_a_light_part_beside_a_heavy_one():
    # Beside degrees of 1e9, a node of degree 2e-3 must keep its own: NCut = 1e-3 / 2e-3 + 1e-3 / 1e12.
    affinity = np.full((1000, 1000), 1e6)
    affinity[-1] = affinity[:, -1] = 0
    affinity[-1, -1] = affinity[0, -1] = affinity[-1, 0] = 1e-3
    value, position = best_thresholds(sorted_graphs((affinity, np.arange(1000.0))))
    assert (value[0], position[0]) == (pytest.approx(0.5, abs=1e-6), 999)
