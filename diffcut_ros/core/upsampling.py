"""Which of several maps is the largest at each pixel, after bilinear upsampling.

A GPU upsamples all maps, and a CPU does so with a few. With a hundred, that would take a CPU most of a cut, nearly all
of it for maps that are nowhere near the largest; most are ruled out before:

1. Between four neighbouring cell centres, in a quad, upsampling takes weighted means of a map's values at these
   corners. A map that is the largest at all four is the largest everywhere between them.
2. Elsewhere each map gets a loss at each corner: by how much it falls short of the largest one there. This subtracts
   one and the same bilinear function from all maps, so that their order stays the same at every pixel. Some map's
   largest loss is the smallest; it loses no more than that anywhere in the quad, and maps that lose more at every
   corner are out.
3. Quads are divided into blocks, and the maps that are left are compared at the corners of each block in the same way.
4. The maps that are left in a block, few as a rule, are upsampled to its pixels.
"""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F

# Maps upsampled at once where all are: bounds the memory at this many images of float32.
_MAPS = 16
# Up to this many maps, ruling some out takes a CPU longer than upsampling all.
_FEW = 12
# Values held at once, at most: bounds the memory where no map can be ruled out.
_LARGEST_ARRAY = 1 << 24


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
    if scores.device.type == 'cpu' and len(scores) > _FEW:
        return torch.from_numpy(_best_by_quads(scores.detach().numpy(), size_hw))
    return _best_of_all(scores, size_hw)


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


class _Axis:
    """The pixels along one axis of the image, and where they lie among the quads.

    Quad q lies between the centres of cells q - 1 and q, the first and the last one beyond the outermost centres.

    Args:
        length: number of pixels.
        cells: number of cells.
        blocks: number of blocks that a quad is divided into along this axis.
    """

    def __init__(self, length: int, cells: int, blocks: int) -> None:
        self._blocks = blocks
        self._position = np.float32(cells / length) * (np.arange(length, dtype=np.float32) + 0.5) + np.float32(0.5)
        block = np.minimum((self._position * blocks).astype(np.int64), (cells + 1) * blocks - 1)
        count = np.bincount(block, minlength=(cells + 1) * blocks)
        self._first = np.cumsum(count) - count
        self.count = count.reshape(-1, blocks)  # number of pixels in each block of each quad, possibly 0

    def expand(self, by_quad: np.ndarray, axis: int) -> np.ndarray:
        """Return each quad's value at each of its pixels; both along `axis`."""
        return np.repeat(by_quad, self.count.sum(1), axis)

    def pixels(self, quad: np.ndarray, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels of some blocks.

        Args:
            quad: int64 [B], the quads that the blocks belong to.
            block: int64 [B], 0..blocks-1 within the quad, each of at least one pixel.

        Returns:
            The pixels, int64 [M, B], M the most of any block (others repeat their last one); and where they lie within
            the quad, 0 to 1, float32 [M, B].
        """
        last = self.count[quad, block] - 1
        pixel = self._first[quad * self._blocks + block] + np.minimum(np.arange(last.max() + 1)[:, None], last)
        return pixel, self._position[pixel] - quad.astype(np.float32)


def _best_by_quads(scores: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return the same as `best_upsampled`, for float32 [K, h, w] and as int64 [H, W]."""
    count, h, w = scores.shape
    pixels_per_cell = size_hw[0] * size_hw[1] / (h * w)
    # About as many blocks in a quad as pixels in a block: there is as much to do for the ones as for the others.
    blocks = max(1, round(pixels_per_cell**0.25))
    rows, columns = _Axis(size_hw[0], h, blocks), _Axis(size_hw[1], w, blocks)
    by_cell = np.ascontiguousarray(scores.reshape(count, -1).T)
    best = by_cell.argmax(1)
    loss = np.take_along_axis(by_cell, best[:, None], 1) - by_cell
    cell = np.pad(np.arange(h * w).reshape(h, w), 1, mode='edge')
    corners = np.stack([cell[:-1, :-1], cell[:-1, 1:], cell[1:, :-1], cell[1:, 1:]])
    labels = rows.expand(columns.expand(best[corners[0]], 1), 0)
    undecided = np.argwhere((best[corners] != best[corners[0]]).any(0))
    values = len(undecided) * count * max(pixels_per_cell, (blocks + 1) ** 2)
    for quads in np.array_split(undecided, math.ceil(values / _LARGEST_ARRAY)) if len(undecided) else ():
        _decide(labels, quads, loss[corners[:, quads[:, 0], quads[:, 1]]], rows, columns)
    return labels


def _decide(labels: np.ndarray, quads: np.ndarray, loss: np.ndarray, rows: _Axis, columns: _Axis) -> None:
    """Write the labels of all pixels in some quads.

    What is left of the maps is kept as pairs of an area, quad or block, and a map, sorted by area, then by map.

    Args:
        labels: int64 [H, W], written to.
        quads: int64 [Q, 2], row and column of each quad.
        loss: float32 [4, Q, K], at the corners of each quad: above left, above right, below left, below right.
        rows: axis of the image.
        columns: axis of the image.
    """
    quad, map_ = np.nonzero(loss.min(0) <= loss.max(0).min(1)[:, None])
    loss, first = loss[:, quad, map_], _first_of_each(quad)
    # The same for the blocks, whose corners are points [blocks + 1, blocks + 1] of each quad.
    share = np.linspace(0, 1, rows.count.shape[1] + 1, dtype=np.float32)[:, None]
    points = _bilinear(loss, share, share)
    points -= np.minimum.reduceat(points, first, 2)[:, :, quad]
    at_corners = points[:-1, :-1], points[:-1, 1:], points[1:, :-1], points[1:, 1:]
    smallest, largest = functools.reduce(np.minimum, at_corners), functools.reduce(np.maximum, at_corners)
    limit = np.minimum.reduceat(largest, first, 2)
    empty = (rows.count[quads[:, 0]].T[:, None] == 0) | (columns.count[quads[:, 1]].T == 0)
    limit[empty] = -1
    row, column, pair = np.nonzero(smallest <= limit[:, :, quad])
    if not len(pair):
        return  # so small an image that no pixel lies in these quads
    loss, quad, map_ = loss[:, pair], quad[pair], map_[pair]
    first = _first_of_each((row * len(share) + column) * len(quads) + quad)
    block = np.repeat(np.arange(len(first)), np.diff(first, append=len(pair)))
    y, down = rows.pixels(quads[quad[first], 0], row[first])
    x, right = columns.pixels(quads[quad[first], 1], column[first])
    values = _bilinear(loss, down[:, block], right[:, block])
    is_best = values == np.minimum.reduceat(values, first, 2)[:, :, block]
    labels[y[:, None], x] = np.minimum.reduceat(np.where(is_best, map_, np.iinfo(np.int64).max), first, 2)


def _bilinear(corners: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return values within quads, float32 [M, N, P].

    Args:
        corners: float32 [4, P], values above left, above right, below left, below right.
        down: float32 [M, P] or [M, 1], 0 to 1 from above to below.
        right: float32 [N, P] or [N, 1], 0 to 1 from left to right.
    """
    above = corners[0] + right * (corners[1] - corners[0])
    below = corners[2] + right * (corners[3] - corners[2])
    return above + down[:, None] * (below - above)


def _first_of_each(area: np.ndarray) -> np.ndarray:
    """Return where each area begins in a sorted list of areas, numbers from 0."""
    return np.flatnonzero(np.diff(area, prepend=-1))
