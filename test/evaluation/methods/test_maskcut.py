import numpy as np
import pytest
import scipy.linalg
import torch
from scipy import ndimage

from diffcut_ros.core import FeatureMap
from diffcut_ros.evaluation.methods import METHODS, Sample, maskcut
from support.scenes import same_partition

METHOD = METHODS['maskcut']


def scene(labels: np.ndarray, pixels_per_cell: int = 1) -> Sample:
    """Return a sample whose cells of one label are all alike and unlike all others."""
    h, w = labels.shape
    features = torch.eye(labels.max() + 1)[torch.from_numpy(labels)]
    size_hw = h * pixels_per_cell, w * pixels_per_cell
    return Sample(np.zeros((*size_hw, 3), np.uint8), FeatureMap(features, size_hw))


def two_objects() -> np.ndarray:
    labels = np.zeros((12, 16), np.int64)
    labels[2:6, 2:7] = 1
    labels[7:11, 9:15] = 2
    return labels


def test_finds_objects_on_a_background():
    labels = two_objects()
    assert same_partition(METHOD.run(scene(labels), METHOD.config()), labels)


def test_pixels_are_those_of_their_cells():
    labels = two_objects()
    found = METHOD.run(scene(labels, pixels_per_cell=4), METHOD.config())
    assert same_partition(found, np.kron(labels, np.ones((4, 4), np.int64)))


def test_a_round_finds_one_object():
    found = METHOD.run(scene(two_objects()), METHOD.config(objects=1))
    assert len(np.unique(found)) == 2
    assert any(same_partition(found, two_objects() == label) for label in (1, 2))


@pytest.mark.parametrize('corners', [0, 1, 2, 3, 4])
def test_foreground_has_the_seed_unless_it_has_three_corners(corners):
    x = np.full((5, 6), -0.1)
    x[:, 2:4] = 0.5  # connects the corners
    for row, columns in [(0, slice(2)), (0, slice(4, 6)), (4, slice(2)), (4, slice(4, 6))][:corners]:
        x[row, columns] = 0.5
    x[2, 2] = 1.0
    found = maskcut.foreground_object(x)
    assert found[2, 2] == (corners < 3)
    assert found.sum() == ((x > 0).sum() if corners < 3 else 6)


def test_the_object_is_the_piece_with_the_seed():
    x = np.full((5, 7), -0.1)
    x[1, 1:3] = 0.8
    x[3, 5] = 1.0
    assert np.argwhere(maskcut.foreground_object(x)).tolist() == [[3, 5]]


def test_too_small_an_object_is_found_in_the_first_round_only():
    labels = np.zeros((12, 16), np.int64)
    labels[9, 11] = 1  # one of 192 cells, at most 1 %
    assert same_partition(METHOD.run(scene(labels), METHOD.config()), labels)
    labels[2:6, 2:4] = 2
    found = METHOD.run(scene(labels), METHOD.config())
    assert same_partition(found, labels == 2)


def literal_maskcut(features: np.ndarray, grid: tuple[int, int], tau: float, rounds: int) -> list[np.ndarray]:
    """Return the masks of all rounds, by the published program's steps, one by one, at the resolution of the cells.

    Its eigenvectors take the sign that LAPACK gives; here, that of a positive seed (see `foreground_object`).
    """
    feats = features.copy()
    painted = np.zeros(grid)
    current = None
    masks = []
    for i in range(rounds):
        if i > 0:
            painted = np.minimum(painted + current, 1)
            feats = feats * (1 - painted).reshape(-1, 1)
        length = np.maximum(np.linalg.norm(feats, axis=1, keepdims=True), 1e-12)
        weights = np.where((feats / length) @ (feats / length).T > tau, 1.0, 1e-5)
        degrees = np.diag(weights.sum(1))
        x = scipy.linalg.eigh(degrees - weights, degrees, subset_by_index=[1, 2])[1][:, 0]
        if x[np.argmax(np.abs(x))] < 0:
            x = -x
        part = x > x.sum() / len(x)
        seed = np.argmax(np.abs(x))
        square = part.reshape(grid)
        corners = int(square[0][0]) + int(square[0][-1]) + int(square[-1][0]) + int(square[-1][-1])
        reverse = True if corners >= 3 else not part[seed]
        if reverse:
            part = np.logical_not(part)
            seed = np.argmax(-x)
        else:
            seed = np.argmax(x)
        pieces, _ = ndimage.label(part.reshape(grid).astype(float))
        mask = (pieces == pieces[np.unravel_index(seed, grid)]).astype(float)
        if i > 0:
            union = ((current + mask) > 0).sum()
            if (current * mask).sum() / union > 0.5 or mask.sum() / mask.size <= 0.01:
                mask = np.zeros(grid)
        current = mask
        taken = sum(masks) if masks else 0
        masks.append(np.maximum(mask - taken, 0))
    return masks


@pytest.mark.parametrize('tau', [0.1, 0.3, 0.6])
@pytest.mark.parametrize('rounds', [3, 5, 20])
@pytest.mark.parametrize('seed', range(3))
def test_a_literal_reading_gives_the_same_masks(seed, rounds, tau):
    generator = torch.Generator().manual_seed(seed)
    grid = 10, 12
    # Smooth noise: neighbours are alike, as in images.
    coarse = torch.randn(1, 6, 4, 5, generator=generator)
    features = torch.nn.functional.interpolate(coarse, grid, mode='bicubic')[0].reshape(6, -1).T
    features = torch.nn.functional.normalize(features, dim=1).double().numpy()
    expected = literal_maskcut(features, grid, tau, rounds)
    found = maskcut.objects_of(features, grid, METHOD.config(objects=rounds, tau=tau))
    assert found.any()
    for k, mask in enumerate(expected):
        assert np.array_equal(found == k + 1, mask > 0), f'round {k}'


def test_sign_of_the_eigenvector():
    affinity = np.full((5, 5), 1e-5)
    affinity[:2, :2] = affinity[2:, 2:] = 1
    x = maskcut.second_eigenvector(affinity)
    assert x[:2] == pytest.approx(x[0], rel=1e-6)
    assert x[0] > 0 > x[2]  # the smaller part has the larger magnitude
    degrees = np.diag(affinity.sum(1))
    value = x @ (degrees - affinity) @ x / (x @ degrees @ x)
    assert (degrees - affinity) @ x == pytest.approx(value * degrees @ x, abs=1e-12)
