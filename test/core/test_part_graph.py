import numpy as np
import pytest
from scipy.sparse import coo_matrix, csgraph

from diffcut_ros.core.part_graph import components, distinct, of_first
from diffcut_ros.core.runs import Runs


@pytest.mark.parametrize('seed', range(20))
def test_components_are_those_of_scipy_numbered_in_the_order_of_their_nodes(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 300))
    pairs = tuple(random.integers(0, count, (2, int(random.integers(0, count)))))
    graph = coo_matrix((np.ones(len(pairs[0])), pairs), (count, count))
    expected = csgraph.connected_components(graph, directed=False)[1]
    found = components(count, pairs)
    assert np.array_equal(found, np.unique(expected, return_index=True)[1].argsort().argsort()[expected])
    values = random.integers(0, 9, count)
    assert np.array_equal(of_first(found, values), values[np.unique(found, return_index=True)[1]])


@pytest.mark.parametrize('count', [3, 2000])
@pytest.mark.parametrize('weighted', [False, True])
def test_distinct_pairs_by_hand(count, weighted):
    """Few nodes by a table, many by sorting."""
    random = np.random.default_rng(0)
    pairs = tuple(random.integers(0, min(count, 40), (2, 500)))
    weight = random.random(500) if weighted else None
    expected = {}
    for a, b, w in zip(*pairs, np.ones(500) if weight is None else weight, strict=True):
        if a != b:
            expected[min(a, b), max(a, b)] = expected.get((min(a, b), max(a, b)), 0) + w
    (low, high), total = distinct(pairs, count, weight)
    assert list(zip(low, high, strict=True)) == sorted(expected)
    assert total == pytest.approx([expected[pair] for pair in sorted(expected)])


@pytest.mark.parametrize('size_hw', [(1, 1), (1, 9), (9, 1), (7, 11), (30, 40)])
@pytest.mark.parametrize('labels', [1, 2, 50])
def test_touching_runs_are_those_of_touching_pixels(size_hw, labels):
    image = np.random.default_rng(labels).integers(0, labels, size_hw)
    runs = Runs.of(image)
    of_pixel = runs.painted(np.arange(len(runs.label)))
    below = {(a, b) for a, b in zip(of_pixel[:-1].ravel(), of_pixel[1:].ravel(), strict=True)}
    beside = {(a, b) for a, b in zip(of_pixel[:, :-1].ravel(), of_pixel[:, 1:].ravel(), strict=True) if a != b}
    found = list(zip(*runs.touching, strict=True))
    assert len(found) == len(set(found))
    assert set(found) == below | beside
