"""The graph: how alike two cells are."""

import math

import torch
import torch.nn.functional as F

from diffcut_ros.core.threads import threads_for

# Rows of the similarity that a CPU computes at a time, right of the diagonal only: the fastest of 64, 128, 256, 512.
_ROWS = 128


def affinity_matrix(features: torch.Tensor, alpha: float = 10.0) -> torch.Tensor:
    """Return the affinity between all cells (DiffCut, section 3.2).

    Cosine similarity, min-max normalised over the whole matrix to [0, 1], raised to the power `alpha`, which pushes
    weak affinities towards 0. Cells that are all alike (the matrix has one value) have affinity 1 everywhere.

    Args:
        features: float32 [N, C], N >= 1.
        alpha: exponent, above 0.

    Returns:
        float32 [N, N] on the features' device, symmetric, in [0, 1], diagonal 1 (up to rounding).

    Raises:
        ValueError: for another shape, a non-finite feature or an alpha that is not positive.
    """
    if features.ndim != 2 or features.shape[0] < 1:
        raise ValueError(f'features: expected a tensor [N, C] with N >= 1, received shape {tuple(features.shape)}')
    if not alpha > 0:
        raise ValueError(f'alpha: expected a number above 0, received {alpha}')
    with threads_for(len(features)):
        similarity = _similarity(F.normalize(features.float(), dim=1))
        low, high = similarity.aminmax()
        spread = high - low
        # All that the host asks the device: a NaN or an infinity among the features makes a row NaN, and so the spread.
        known = float(spread)
        if math.isnan(known):
            raise ValueError('features: expected finite values, received NaN or infinity; check the feature extractor')
        # A spread within rounding is no structure: stretching it would turn noise into segments.
        if known <= 1e-5:
            return torch.ones_like(similarity)
        return similarity.sub_(low).div_(spread).pow_(alpha)


def _similarity(unit: torch.Tensor) -> torch.Tensor:
    """Return unit @ unit.T, float32 [N, N], symmetric to the last digit, which the eigensolver relies on."""
    n = len(unit)
    step = _ROWS if unit.device.type == 'cpu' else n  # a GPU gains nothing by halves
    similarity = unit.new_empty(n, n)
    for start in range(0, n, step):
        stop = min(start + step, n)
        rows = unit[start:stop] @ unit[start:].T
        own, others = rows[:, : stop - start], rows[:, stop - start :]
        # Matrix products round (i, j) and (j, i) differently on some devices.
        similarity[start:stop, start:stop] = (own + own.T) / 2
        similarity[start:stop, stop:] = others
        similarity[stop:, start:stop] = others.T
    return similarity
