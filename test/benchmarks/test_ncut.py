import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from diffcut_ros.benchmarks import ncut
from diffcut_ros.benchmarks.baselines import scikit_image_ncut, spectral_clustering
from diffcut_ros.benchmarks.graphs import FEATURES, photographs
from diffcut_ros.benchmarks.plain_ncut import plain_ncut
from support import reference
from support.graphs import photograph_graph
from support.scenes import same_partition, two_cliques


def benchmark(*args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'ncut', *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_command_prints_its_tables():
    result = benchmark('--nodes', '100', '64', '--photographs', '2', '--repeats', '1', '--device', 'cpu')
    assert result.returncode == 0, result.stderr
    rows = [[cell.strip() for cell in line.split('│')[1:-1]] for line in result.stdout.splitlines() if '│' in line]
    assert [row[:2] for row in rows if len(row) == 9] == [
        [kind, nodes] for kind in ('color', 'random') for nodes in ('64', '100')
    ]
    compared = [row for row in rows if len(row) == 7 and row[:2] == ['color', '100']]
    ours, paper, scikit_image, scikit_learn = compared
    assert [row[2] for row in (ours, paper)] == ['recursive_ncut', "the paper's procedure"]
    assert scikit_image[2].startswith('scikit-image')
    assert scikit_learn[5] == ours[5]  # as many segments
    assert all(0 <= float(row[6]) < 1 for row in compared)
    assert re.search(r'color: time of the whole hierarchy grows as N\^-?[0-9.]+, time / depth as N', result.stdout)
    assert 'PyTorch' in result.stdout.splitlines()[0]


def test_a_number_of_nodes_that_is_no_square():
    result = benchmark('--nodes', '1000')
    assert result.returncode == 2
    assert "--nodes: expected a square of at least 4, as 1024 = 32 x 32 cells, received '1000'" in result.stderr


@pytest.mark.parametrize('seed', range(6))
def test_the_plain_procedure_tries_the_thresholds_of_the_paper(seed):
    affinity = photograph_graph(seed, 10)
    expected, _ = reference.recursive_ncut(affinity.double().numpy(), 0.6, literal=True)
    assert same_partition(plain_ncut(affinity, 0.6), expected)


@pytest.mark.parametrize('method', [lambda w: scikit_image_ncut(w, 0.3), lambda w: spectral_clustering(w, 2)])
def test_baselines_find_two_cliques(method):
    labels = method((two_cliques(12, 18, bridge=0.1) + 1e-6).numpy())
    assert same_partition(labels, np.arange(30) >= 12)


def test_ncut_per_segment():
    # Cut 0.5 of degrees 9.5 and 16.5.
    affinity = two_cliques(3, 4, bridge=0.5).numpy()
    assert ncut.ncut_per_segment(affinity, np.array([0, 0, 0, 1, 1, 1, 1])) == pytest.approx(
        (0.5 / 9.5 + 0.5 / 16.5) / 2
    )
    assert ncut.ncut_per_segment(affinity, np.array([2, 2, 2, 2, 2, 2, 2])) == pytest.approx(0)


def test_peak_memory_of_a_known_allocation():
    graph = torch.zeros(4096, 4096)
    assert ncut.peak_memory(lambda: graph + 1, graph) == pytest.approx(2, abs=0.2)
    assert ncut.peak_memory(lambda: None, torch.zeros(10, 10)) is None


def test_peak_memory_beside_what_earlier_calls_left():
    torch.ones(7_900_000)  # freed at once: from now on, the C library keeps blocks of this size
    many = [torch.ones(7_000_000) for _ in range(8)]
    above = torch.ones(1_000_000)
    del many
    graph = torch.zeros(4096, 4096)
    assert ncut.peak_memory(lambda: graph + above[0], graph) == pytest.approx(2, abs=0.2)


def test_features_of_a_photograph():
    image = photographs()[0]
    assert image.shape[0] == image.shape[1]
    for kind, channels in (('color', 512), ('random', 1280)):
        features = FEATURES[kind](image, 9).flat()
        assert features.shape == (81, channels)
        assert features.dtype == torch.float32
        assert torch.equal(features, FEATURES[kind](image, 9).flat())
