"""Which of several maps is the largest at each pixel, after bilinear upsampling.

A GPU upsamples all maps. With a hundred, that would take a CPU most of a cut, nearly all of it for maps that are not
nearly the largest anywhere; most are ruled out before:

1. Between four neighbouring cell centres, in a quad, upsampling takes weighted means of a map's values at these
   corners. A map that is the largest at all four is the largest everywhere between them.
2. Elsewhere each map gets a loss at each corner: by how much it falls short of the largest one there. This subtracts
   one and the same bilinear function from all maps, so that their order stays the same at every pixel. Some map's
   largest loss is the smallest; it loses no more than that anywhere in the quad, and maps that lose more at every
   corner are out. So is a map that a weighted mean of two of the corners' largest maps outdoes at every corner.
3. The maps that are left, few as a rule, are upsampled to the pixels of the quad.
"""

import numpy as np
import torch
import torch.nn.functional as F

from diffcut_ros.core.compiled import compiled, inlined

# Maps upsampled at once where all are: bounds the memory at this many images of float32.
_MAPS = 16


def best_upsampled(scores: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """Return which of several maps is the largest at each pixel, after bilinear upsampling.

    As `F.interpolate` does it, without aligned corners: the cells cover the image, and beyond the outermost centres
    the border's values hold.

    Args:
        scores: float32 [K, h, w], K >= 1, finite.
        size_hw: H and W, at least 1.

    Returns:
        int64 [H, W], 0..K-1, on the device of the scores; the first of equal ones, up to rounding.
    """
    if scores.device.type != 'cpu':
        return _best_of_all(scores, size_hw)
    labels = np.empty(size_hw, np.int64)
    _best_by_quads(scores.detach().permute(1, 2, 0).contiguous().numpy(), labels)
    return torch.from_numpy(labels)


def _best_of_all(scores: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """Return the same as `best_upsampled`, by upsampling all maps."""
    best: torch.Tensor | None = None
    for first in range(0, len(scores), _MAPS):
        part = F.interpolate(scores[None, first : first + _MAPS], size_hw, mode='bilinear')[0]
        value, index = part.max(0)
        if best is None:
            best, labels = value, index
        else:
            better = value > best
            best = torch.where(better, value, best)
            labels = torch.where(better, index + first, labels)
    return labels


def upsampled_at(
    scores: torch.Tensor, size_hw: tuple[int, int], maps: torch.Tensor, y: torch.Tensor, x: torch.Tensor
) -> torch.Tensor:
    """Return values of some maps at some pixels, after bilinear upsampling as in `best_upsampled`.

    Args:
        scores: float32 [K, h, w].
        size_hw: H and W, at least 1.
        maps: int64 [..., M], 0..K-1.
        y: int64 [M], 0..H-1.
        x: int64 [M], 0..W-1.

    Returns:
        float32 [..., M].
    """
    (above, below, down), (left, right, across) = (
        _neighbours(pixel, length, cells)
        for pixel, length, cells in zip((y, x), size_hw, scores.shape[1:], strict=True)
    )
    w = scores.shape[2]
    flat, first = scores.reshape(-1), maps * (scores.shape[1] * w)
    upper = torch.lerp(flat[first + above * w + left], flat[first + above * w + right], across)
    lower = torch.lerp(flat[first + below * w + left], flat[first + below * w + right], across)
    return torch.lerp(upper, lower, down)


def _neighbours(pixel: torch.Tensor, length: int, cells: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the cells whose centres lie before and after pixels along one axis, and where between them, 0 to 1."""
    position = ((pixel + 0.5) * (cells / length) - 0.5).clamp(0, cells - 1)
    before = position.long()
    return before, (before + 1).clamp(max=cells - 1), position - before


@inlined
def _axis(length: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how the pixels along one axis of the image lie among the quads.

    Quad q lies between the centres of cells q - 1 and q, the first and the last one beyond the outermost centres.

    Returns:
        The first pixel of each quad, int64 [cells + 2], the last value being their number; and where each pixel lies
        within its quad, 0 to 1, float32 [length].
    """
    first, share = np.zeros(cells + 2, np.int64), np.empty(length, np.float32)
    scale = np.float32(cells / length)
    for pixel in range(length):
        position = scale * (np.float32(pixel) + np.float32(0.5)) + np.float32(0.5)
        quad = min(int(position), cells)
        share[pixel] = position - quad
        first[quad + 1] = pixel + 1
    for quad in range(1, cells + 2):
        first[quad] = max(first[quad], first[quad - 1])
    return first, share


@inlined
def _outdone(corners: np.ndarray, k: int, first: int, second: int) -> bool:
    """Return whether some weighted mean of two maps is at least as large as map k at all corners of a quad.

    Then it is so at all pixels, where one of the two is at least as large as their mean.
    """
    low, high = np.float32(0), np.float32(1)  # of the first one's weight
    for corner in range(4):
        lead = corners[corner, second] - corners[corner, k]
        gain = corners[corner, first] - corners[corner, second]
        if gain > 0:
            low = max(low, -lead / gain)
        elif gain < 0:
            high = min(high, -lead / gain)
        elif lead < 0:
            return False
    return bool(low <= high)


@inlined
def _candidates(corners: np.ndarray, best: np.ndarray, maps: np.ndarray) -> int:
    """Write down, in rising order, which maps may be the largest somewhere in a quad; return their number.

    Args:
        corners: float32 [4, K], the values at the corners.
        best: int64 [4], the largest map at each corner.
        maps: int64 [K], written to.
    """
    count = corners.shape[1]
    # The least that each map loses anywhere, and the smallest of the most that a map loses.
    limit = np.float32(np.inf)
    for k in range(count):
        most = corners[0, best[0]] - corners[0, k]
        for corner in range(1, 4):
            most = max(most, corners[corner, best[corner]] - corners[corner, k])
        limit = min(limit, most)
    left = 0
    for k in range(count):
        least = corners[0, best[0]] - corners[0, k]
        for corner in range(1, 4):
            least = min(least, corners[corner, best[corner]] - corners[corner, k])
        out = least > limit
        for first in range(4):
            for second in range(first):
                if not out and k != best[first] and k != best[second]:
                    out = best[first] != best[second] and _outdone(corners, k, best[first], best[second])
        if not out:
            maps[left] = k
            left += 1
    return left


@compiled('void(float32[:, :, ::1], int64[:, ::1])')
def _best_by_quads(scores: np.ndarray, labels: np.ndarray) -> None:
    """Write the same as `best_upsampled` to labels [H, W], for float32 [h, w, K]."""
    h, w, count = scores.shape
    height, width = labels.shape
    rows, down = _axis(height, h)
    columns, right = _axis(width, w)
    best = np.empty((h, w), np.int64)
    for i in range(h):
        for j in range(w):
            k = 0
            for other in range(1, count):
                if scores[i, j, other] > scores[i, j, k]:
                    k = other
            best[i, j] = k
    corners, largest, maps = np.empty((4, count), np.float32), np.empty(4, np.int64), np.empty(count, np.int64)
    value, map_ = np.empty(width, np.float32), np.empty(width, np.int64)
    for i in range(h + 1):
        above, below = max(i - 1, 0), min(i, h - 1)
        for j in range(w + 1):
            before, after = max(j - 1, 0), min(j, w - 1)
            first, n = columns[j], columns[j + 1] - columns[j]
            k = best[above, before]
            largest[0], largest[1], largest[2], largest[3] = (
                k,
                best[above, after],
                best[below, before],
                best[below, after],
            )
            if largest[1] == k and largest[2] == k and largest[3] == k:
                for y in range(rows[i], rows[i + 1]):
                    labels[y, first : first + n] = k
                continue
            corners[0], corners[1] = scores[above, before], scores[above, after]
            corners[2], corners[3] = scores[below, before], scores[below, after]
            left = _candidates(corners, largest, maps)
            for y in range(rows[i], rows[i + 1]):
                value[:n] = -np.inf
                for place in range(left):
                    k = maps[place]
                    begin = corners[0, k] + down[y] * (corners[2, k] - corners[0, k])
                    slope = corners[1, k] + down[y] * (corners[3, k] - corners[1, k]) - begin
                    for x in range(n):
                        v = begin + right[first + x] * slope
                        larger = v > value[x]
                        value[x] = v if larger else value[x]
                        map_[x] = k if larger else map_[x]
                labels[y, first : first + n] = map_[:n]
