"""The graph: how alike two cells are."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from diffcut_ros.core.compiled import compiled
from diffcut_ros.core.threads import threads_for
from diffcut_ros.core.types import FeatureMap

# Rows of the similarity that a CPU computes at a time, left of the diagonal only: the fastest of 64, 128, 256, 512.
_ROWS = 128
# Affinities below it are 0: no sum of float32 sees them beside that of a cell to itself, and the smallest numbers that
# there are take a CPU a hundred times as long as others.
_SMALLEST = 1e-30
# Rows and columns that are mirrored at a time: both pieces stay in the cache.
_TILE = 32


def graph_of(feature_map: FeatureMap, alpha: float = 10.0, *, lower: bool = False) -> torch.Tensor:
    """Return the affinity between all cells of an image, from its points if it has some; see `affinity_matrix`."""
    if feature_map.points is None:
        return affinity_matrix(feature_map.flat(), alpha, lower=lower)
    return affinity_matrix(feature_map.points.flatten(0, 1), alpha, gaussian=True, lower=lower)


def affinity_matrix(
    features: torch.Tensor, alpha: float = 10.0, *, gaussian: bool = False, lower: bool = False
) -> torch.Tensor:
    """Return the affinity between all cells (DiffCut, section 3.2).

    Cosine similarity, min-max normalised over the whole matrix to [0, 1], raised to the power `alpha`, which pushes
    weak affinities towards 0. Cells that are all alike (the matrix has one value) have affinity 1 everywhere.

    Args:
        features: float32 [N, C], N >= 1.
        alpha: exponent, above 0.
        gaussian: whether two cells at distance d are similar by exp(-d^2 / 2), instead of by their cosine.
        lower: whether what is above the diagonal may be anything: on a CPU, `recursive_ncut` does not look there.

    Returns:
        float32 [N, N] on the features' device, symmetric, in [0, 1], diagonal 1 (up to rounding). On a CPU values below
        1e-30 are 0.

    Raises:
        ValueError: for another shape, a non-finite feature or an alpha that is not positive.
    """
    if features.ndim != 2 or features.shape[0] < 1:
        raise ValueError(f'features: expected a tensor [N, C] with N >= 1, received shape {tuple(features.shape)}')
    if not alpha > 0:
        raise ValueError(f'alpha: expected a number above 0, received {alpha}')
    features = features.detach().float()
    on_host = features.device.type == 'cpu'
    cells = features if gaussian else F.normalize(features, dim=1)
    with threads_for(len(cells)):
        similarity, low, spread = (_lower_similarity if on_host else _similarity)(cells, gaussian)
    # All that the host asks the device: a NaN or an infinity among the features makes a row NaN, and so the spread.
    known = float(spread)
    if math.isnan(known):
        raise ValueError('features: expected finite values, received NaN or infinity; check the feature extractor')
    # A spread within rounding is no structure: stretching it would turn noise into segments.
    if known <= 1e-5:
        return torch.ones_like(similarity)
    if not on_host:
        return similarity.sub_(low).div_(spread).pow_(alpha)
    whole = int(alpha) if alpha in range(1, 1000) else 1
    _stretch(similarity.numpy(), float(low), known, _SMALLEST ** (1 / alpha), whole)
    if whole != alpha:
        for start in range(0, len(similarity), _ROWS):
            similarity[start : start + _ROWS, : start + _ROWS].pow_(alpha)
    if not lower:
        _mirror(similarity.numpy())  # last: PyTorch's powers depend on where in memory a number lies
    return similarity


def _similarity(cells: torch.Tensor, gaussian: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return how similar cells are, float32 [N, N], the smallest value, and the largest less that.

    It is symmetric to the last digit, which the eigensolver relies on.

    Args:
        cells: float32 [N, C]; of length 1, unless the similarity is a Gaussian of their distance.
        gaussian: whether it is.
    """
    if gaussian:
        # Not by products, which are less exact the farther points are from 0.
        distance = torch.cdist(cells, cells, compute_mode='donot_use_mm_for_euclid_dist')
        similarity = distance.square_().div_(-2).exp_()
    else:
        similarity = cells @ cells.T
    similarity = (similarity + similarity.T) / 2  # (i, j) and (j, i) are rounded differently on some devices
    low, high = similarity.aminmax()
    return similarity, low, high - low


def _lower_similarity(cells: torch.Tensor, gaussian: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the same as `_similarity`, on a CPU; above the diagonal it is not complete."""
    n = len(cells)
    # NumPy asks Linux for large pages, PyTorch does not.
    similarity = torch.from_numpy(np.empty((n, n), np.float32))
    columns = np.ascontiguousarray(cells.numpy().T)
    ranges = []
    for start in range(0, n, _ROWS):
        rows = similarity[start : start + _ROWS, : start + _ROWS]
        if gaussian:
            _exponents(columns, similarity.numpy(), start, min(start + _ROWS, n))
            rows.exp_()
        else:
            torch.mm(cells[start : start + _ROWS], cells[: start + _ROWS].T, out=rows)
        ranges.append(torch.stack(rows.aminmax()))  # while it is in the cache
    low, high = torch.stack(ranges).unbind(1)
    return similarity, low.min(), high.max() - low.min()


@compiled('void(float32[:, ::1], float32[:, ::1], int64, int64)')
def _exponents(points: np.ndarray, exponent: np.ndarray, start: int, stop: int) -> None:
    """Write minus half the squared distances of points in rows start..stop - 1, up to column stop - 1.

    Args:
        points: float32 [D, N].
        exponent: float32 [N, N], written to.
        start, stop: rows.
    """
    for i in range(start, stop):
        row = exponent[i, :stop]
        row[:] = 0
        for axis in range(len(points)):
            along, here = points[axis, :stop], points[axis, i]
            for j in range(stop):
                difference = along[j] - here
                row[j] -= np.float32(0.5) * difference * difference


@compiled('void(float32[:, ::1], float64, float64, float64, int64)')
def _stretch(similarity: np.ndarray, low: float, spread: float, least: float, power: int) -> None:
    """Stretch the lower triangle of a matrix from low.. to 0..1, and raise it to a power of at least 1, in place.

    What is below `least` before it is raised becomes 0.
    """
    n = len(similarity)
    x = np.empty(n, np.float32)
    low_, spread_, least_ = np.float32(low), np.float32(spread), np.float32(least)
    for i in range(n):
        row = similarity[i, : i + 1]
        for j in range(i + 1):
            value = (row[j] - low_) / spread_
            x[j] = value if value >= least_ else np.float32(0)
            row[j] = x[j] if power & 1 else np.float32(1)
        rest = power >> 1
        while rest:
            for j in range(i + 1):
                x[j] *= x[j]
            if rest & 1:
                for j in range(i + 1):
                    row[j] *= x[j]
            rest >>= 1


@compiled('void(float32[:, ::1])')
def _mirror(similarity: np.ndarray) -> None:
    """Write the lower triangle of a matrix, float32 [N, N], to the upper one."""
    n = len(similarity)
    for top in range(0, n, _TILE):
        for left in range(0, top + 1, _TILE):
            for i in range(left, min(left + _TILE, n)):
                for j in range(max(top, i + 1), min(top + _TILE, n)):
                    similarity[i, j] = similarity[j, i]
