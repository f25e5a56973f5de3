import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F

from diffcut_ros.core import FeatureMap, affinity_matrix
from diffcut_ros.evaluation.methods import METHODS, Sample, autosc
from support.scenes import same_partition

METHOD = METHODS['autosc']


def groups(count: int, spread: float, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Return features [8, 9, 16] around `count` orthogonal directions, and the direction of each cell."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.randperm(72, generator=generator).reshape(8, 9) % count
    return torch.eye(16)[group] + spread * torch.randn(8, 9, 16, generator=generator), group.numpy()


def sample_of(features: torch.Tensor) -> Sample:
    return Sample(np.zeros((*features.shape[:2], 3), np.uint8), FeatureMap(features, tuple(features.shape[:2])))


@pytest.mark.parametrize('count', [2, 3, 5, 8])
def test_finds_the_groups_and_their_number(count):
    features, group = groups(count, 0.03)
    assert same_partition(METHOD.run(sample_of(features), METHOD.config()), group)


def test_relative_eigengaps_by_hand():
    # means 0, 0.1, 0.1, 0.325
    gaps = autosc.relative_eigengaps(torch.tensor([0.0, 0.2, 0.1, 1.0]).double())
    assert gaps.tolist() == pytest.approx([0, 1, 0, 0.675 / 0.325], rel=1e-4)


def literal_autosc(features: np.ndarray, slip: bool) -> tuple[np.ndarray, int, int]:
    """Return labels, alpha and number of clusters, by the authors' steps in NumPy, one by one."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = unit @ unit.T
    similarity = (similarity - similarity.min()) / (similarity.max() - similarity.min())
    best_gap, chosen = 0, None
    for alpha in [1, 5, 10, 15]:
        weights = similarity**alpha
        degrees = np.diag(weights.sum(1))
        root = np.diag(1 / np.sqrt(np.diag(degrees)))
        values, vectors = np.linalg.eigh(root @ (degrees - weights) @ root)
        vectors = root @ vectors
        gap = []
        for i in range(len(values)):
            mean = values[: i + 1].mean()
            gap.append((values[i] - mean) / (mean + 1e-6))
        if max(gap) > best_gap:
            best_gap, chosen = max(gap), (alpha, int(np.argmax(gap)), vectors)
    alpha, count, best_vectors = chosen
    embedding = (vectors if slip else best_vectors)[:, :count]
    # Damle et al., algorithm 1: pivot rows, then the orthogonal factor of their polar decomposition.
    pivots = scipy.linalg.qr(embedding.T, pivoting=True)[2][:count]
    left, _, right = np.linalg.svd(embedding[pivots].T)
    return np.abs(embedding @ (left @ right)).argmax(1), alpha, count


def mixed_groups(seed: int) -> torch.Tensor:
    """Return three groups, with 18 cells between them whose group depends on alpha."""
    features, _ = groups(3, 0.15, seed)
    generator = torch.Generator().manual_seed(100 + seed)
    pairs = torch.eye(16)[torch.randint(0, 3, (2, 9, 2), generator=generator)]
    features[:2] = pairs.mean(2) + 0.15 * torch.randn(2, 9, 16, generator=generator)
    return features.reshape(72, 16)


@pytest.mark.parametrize('slip', [False, True])
@pytest.mark.parametrize('seed', range(5))
def test_a_literal_reading_gives_the_same_clusters(seed, slip):
    flat = mixed_groups(seed)
    expected, _, count = literal_autosc(flat.double().numpy(), slip)
    found = autosc.cluster(affinity_matrix(flat, 1.0), METHOD.config(eigenvectors='last' if slip else 'best'))
    assert count > 1
    assert same_partition(found, expected)


def test_the_slip_changes_the_result_where_the_last_alpha_is_not_the_best():
    """Else the test above says nothing of the flag."""
    flat = mixed_groups(0)
    assert literal_autosc(flat.double().numpy(), False)[1] != 15
    affinity = affinity_matrix(flat, 1.0)
    best, last = (autosc.cluster(affinity, METHOD.config(eigenvectors=name)) for name in ('best', 'last'))
    assert not same_partition(best, last)


def test_pixels_take_the_most_similar_mean_feature():
    features, group = groups(3, 0.2)
    sample = Sample(np.zeros((64, 72, 3), np.uint8), FeatureMap(features, (64, 72)))
    unit = F.normalize(features, dim=2)
    means = torch.stack([unit[torch.from_numpy(group == k)].mean(0) for k in range(3)])
    upsampled = F.interpolate(unit.permute(2, 0, 1)[None], (64, 72), mode='bilinear')[0]
    expected = torch.einsum('kc,chw->khw', means, upsampled).argmax(0).numpy()
    assert same_partition(METHOD.run(sample, METHOD.config()), expected)
    nearest = METHOD.run(sample, METHOD.config(upsampling='nearest'))
    assert same_partition(nearest, np.kron(group, np.ones((8, 8), np.int64)))
