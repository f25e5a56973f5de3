import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffcut_ros.core import FeatureMap
from diffcut_ros.evaluation.methods import METHODS, Sample
from support.scenes import same_partition

METHOD = METHODS['kmeans']


def sample_of(features: torch.Tensor, count: int | None, size_hw: tuple[int, int] | None = None) -> Sample:
    size_hw = size_hw or tuple(features.shape[:2])
    return Sample(np.zeros((*size_hw, 3), np.uint8), FeatureMap(features, size_hw), count=count)


def blobs(spread: float) -> tuple[torch.Tensor, np.ndarray]:
    """Return features [6, 8, 4] around four axes, of lengths 1 to 100, and which axis each belongs to."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.randint(0, 4, (6, 8), generator=generator)
    features = torch.eye(4)[axis] + spread * torch.randn(6, 8, 4, generator=generator)
    return features * (1 + 99 * torch.rand(6, 8, 1, generator=generator)), axis.numpy()


def test_finds_blobs_by_direction_not_by_length():
    features, axis = blobs(0.05)
    assert same_partition(METHOD.run(sample_of(features, 4), METHOD.config()), axis)


def test_a_number_of_clusters_of_its_own():
    """It goes before the count of the labels."""
    features, _ = blobs(0.6)
    assert METHOD.run(sample_of(features, 5), METHOD.config(clusters=3, upsampling='nearest')).max() == 2


def test_no_cell_is_nearer_to_another_mean():
    """Lloyd's condition, on the cells."""
    features, _ = blobs(0.6)
    cells = METHOD.run(sample_of(features, 5), METHOD.config(upsampling='nearest')).ravel()
    unit = F.normalize(features.reshape(-1, 4), dim=1).numpy()
    means = np.stack([unit[cells == k].mean(0) for k in range(5)])
    assert np.array_equal(((unit[:, None] - means) ** 2).sum(2).argmin(1), cells)


def test_pixels_take_the_most_similar_mean_feature():
    features, _ = blobs(0.6)
    cells = METHOD.run(sample_of(features, 3), METHOD.config(upsampling='nearest'))
    found = METHOD.run(sample_of(features, 3, (24, 32)), METHOD.config())
    unit = F.normalize(features, dim=2)
    means = torch.stack([unit[torch.from_numpy(cells == k)].mean(0) for k in range(3)])
    upsampled = F.interpolate(unit.permute(2, 0, 1)[None], (24, 32), mode='bilinear')[0]
    assert np.array_equal(found, torch.einsum('kc,chw->khw', means, upsampled).argmax(0).numpy())


def test_fewer_different_cells_than_asked_for():
    features = torch.eye(2)[torch.tensor([[0, 1, 1]])]
    assert METHOD.run(sample_of(features, 3), METHOD.config()).tolist() in ([[0, 1, 1]], [[1, 0, 0]])


def test_repeats():
    features, _ = blobs(0.6)
    first, second = (METHOD.run(sample_of(features, 6), METHOD.config()) for _ in range(2))
    assert np.array_equal(first, second)


def test_without_a_count_the_error_says_so():
    with pytest.raises(ValueError, match='count: expected the number of segments for kmeans, received none'):
        METHOD.run(sample_of(torch.ones(2, 2, 1), None), METHOD.config())


def test_more_segments_than_cells_are_refused():
    with pytest.raises(ValueError, match='count: expected at most 4 segments, one per cell, received 5'):
        METHOD.run(sample_of(torch.ones(2, 2, 1), 5), METHOD.config())
