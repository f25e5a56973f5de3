"""Optional last step: segment borders drawn to the image's edges.

`pamr` is what the paper's evaluation does; `refine_borders`, the node's default, is as good in a seventh of the time:

1. At four pixels per cell, each pixel near a border looks at 16 others up to three cells away, and goes over to another
   segment if those of it resemble its colour more than those of its own do: borders find things that cells are too
   coarse for.
2. A watershed draws the borders, in a band as wide as a pixel of step 1.

Neither touches what is far from borders, and each leaves every segment pixels.
"""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from diffcut_ros.core.assignment import assign_concepts
from diffcut_ros.core.compiled import compiled
from diffcut_ros.core.types import FeatureMap
from diffcut_ros.core.upsampling import best_upsampled

_PIXELS_PER_CELL = 4
ITERATIONS = 10
DILATIONS = (1, 2, 4, 8)

# Of step 2, at most: larger images get borders that are this fine.
_MOST_PIXELS_PER_CELL = 16
# Of step 1, each with its own band. More change little.
_ROUNDS = 3
# How far a border moves in a round, at most; and that of a part of a segment that is not twice as wide.
_REACH, _REACH_IN_NARROW = _PIXELS_PER_CELL, _PIXELS_PER_CELL // 2
# Where step 1 looks: 16 steps in rows and columns, spread evenly over a disc like the seeds of a sunflower.
_LOOK = 3 * _PIXELS_PER_CELL
_SEEDS = np.arange(16) + 0.5
_ANGLE = _SEEDS * (math.pi * (3 - math.sqrt(5)))
_DISC = np.sqrt(_SEEDS[:, None] / 16) * np.stack([np.sin(_ANGLE), np.cos(_ANGLE)], 1)
_AROUND = np.rint(_LOOK * _DISC).astype(int)
# Colours are compared by their difference, summed over the channels of 8-bit CIELAB, as a share of the usual difference
# from the mean within _LOOK, so that faint edges count where there are no others. Likeness falls to 1/e at _UNLIKE of
# it, at no less than the difference that noise makes, and no more than that of clearly different colours.
_UNLIKE = 0.375
_NOISE, _CLEAR = 6, 30
# uint8 [256]: likeness for each difference in 16ths of where it falls to 1/e.
_LIKENESS = np.rint(255 * np.exp(-((np.arange(256) / 16) ** 2))).astype(np.uint8)

# Pixels of a row that vote together, unless all are far from borders.
_TOGETHER = 32

# The eight neighbours of a pixel, as steps in rows and columns.
_STEPS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]


def pamr(
    image: torch.Tensor,
    masks: torch.Tensor,
    iterations: int = ITERATIONS,
    dilations: tuple[int, ...] = DILATIONS,
) -> torch.Tensor:
    """Refine masks by the image (pixel-adaptive mask refinement, Araslanov & Roth, CVPR 2020, section 3.3).

    Each iteration replaces a pixel's mask values by a mean over its neighbours at every dilation, weighted by how
    alike their colours are: softmax of -|difference| / (0.1 * local standard deviation), the mean over colour channels.
    The defaults are those that DiffCut is evaluated with. The cost grows with h * w * K * iterations *
    len(dilations); a mask of many pixels is refined at a smaller size.

    Args:
        image: float32 [C, h, w], any range.
        masks: float32 [K, h, w], one per segment.
        iterations: at least 0.
        dilations: distances of the neighbours in pixels, each at least 1; beyond the border, the border's pixels count.

    Returns:
        float32 [K, h, w]; where masks sum to 1, they still do.

    Raises:
        ValueError: for other shapes, or without a dilation.
    """
    if image.ndim != 3 or masks.ndim != 3 or image.shape[1:] != masks.shape[1:]:
        raise ValueError(
            f'masks: expected [K, h, w] with h and w of the image [C, h, w], received {tuple(masks.shape)} and '
            f'{tuple(image.shape)}'
        )
    if not dilations or min(dilations) < 1:
        raise ValueError(f'dilations: expected at least one, each at least 1 pixel, received {dilations}')
    _, h, w = image.shape
    neighbours = _neighbours(h, w, dilations, image.device)
    weights = _weights(image, neighbours)
    table = masks.flatten(1).T.contiguous()
    for _ in range(iterations):
        # A weighted sum of rows of a table, without a copy of each: what embedding bags are made for.
        table = F.embedding_bag(neighbours, table, mode='sum', per_sample_weights=weights)
    return table.T.reshape(masks.shape)


def refine_assignment(image_rgb: np.ndarray, feature_map: FeatureMap, concepts: torch.Tensor) -> torch.Tensor:
    """Assign pixels to segments as `assign_concepts` does, and move the borders to the image's edges.

    As in the paper, masks are refined at four pixels per cell and side: 128x128 for a grid of 32x32. They are then
    upsampled instead of their labels, which leaves smooth borders and no need for the paper's median filter.

    Args:
        image_rgb: uint8 [H, W, 3].
        feature_map: of that image.
        concepts: float32 [K, C], one per segment.

    Returns:
        int64 [H, W], 0..K-1, on the features' device.
    """
    features = feature_map.features
    h, w = feature_map.grid_hw
    size_hw = _PIXELS_PER_CELL * h, _PIXELS_PER_CELL * w
    pixels = torch.from_numpy(np.require(image_rgb, requirements=['C', 'W']))  # PyTorch warns of read-only arrays
    image = pixels.to(features.device).permute(2, 0, 1).float()
    image = F.interpolate(image[None], size_hw, mode='bilinear', antialias=True)[0]
    labels = assign_concepts(FeatureMap(features, size_hw), concepts)
    masks = F.one_hot(labels, len(concepts)).permute(2, 0, 1).float()
    return best_upsampled(pamr(image, masks), feature_map.image_size_hw)


def refine_borders(
    image_rgb: np.ndarray,
    labels: np.ndarray,
    grid_hw: tuple[int, int],
    favoured: np.ndarray | None = None,
    lead: float = 0.0,
) -> np.ndarray:
    """Move the borders between segments to the image's edges, by little more than three cells at most.

    Every segment keeps pixels: those farther from its border than borders move at once or, where it is nowhere so wide,
    all of them.

    Args:
        image_rgb: uint8 [H, W, 3].
        labels: uint16 [H, W], the segment of each pixel.
        grid_hw: number of rows and columns of the cells that the segments were made of.
        favoured: int [H, W], for each pixel a segment that it gets unless another has more in its favour by `lead`, or
            -1; None = no such pixel.
        lead: as a share of what a segment can have in its favour, 0 to 1.

    Returns:
        uint16 [H, W].
    """
    coarse_hw, fine_hw = (
        tuple(min(pixels * cells, side) for cells, side in zip(grid_hw, labels.shape, strict=True))
        for pixels in (_PIXELS_PER_CELL, _MOST_PIXELS_PER_CELL)
    )
    fine, image = _nearest(labels, fine_hw), _shrunk(image_rgb, fine_hw)
    coarse = _nearest(fine, coarse_hw)
    held = None if favoured is None else _nearest(_nearest(favoured, fine_hw), coarse_hw)
    moved = _carried(fine, coarse, _by_likeness(_shrunk(image, coarse_hw), coarse, held, lead))
    steps_px = math.ceil(max(more / less for more, less in zip(fine_hw, coarse_hw, strict=True)))
    moved = _by_watershed(image, moved, _inner(moved, math.ceil(steps_px / 2)))
    return _carried(labels, fine, moved)


def _carried(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return labels with what changed at a smaller size.

    A pixel whose segment is not that of the smaller size's pixel that it lies in keeps it.
    """
    if labels.shape == before.shape:
        return after
    carried = np.array(labels, order='C')
    rows, columns = (
        np.searchsorted(places, np.arange(length + 1))
        for places, length in zip(_places(labels.shape, before.shape), before.shape, strict=True)
    )
    _carry(before, after, rows, columns, carried)
    return carried


@compiled(
    "void(Array(uint16, 2, 'C', readonly=True), Array(uint16, 2, 'C', readonly=True), int64[::1], int64[::1], "
    'uint16[:, ::1])'
)
def _carry(before: np.ndarray, after: np.ndarray, rows: np.ndarray, columns: np.ndarray, labels: np.ndarray) -> None:
    """Do what `_carried` says, in place; rows and columns say where each pixel of the smaller size begins and ends."""
    for row in range(before.shape[0]):
        for column in range(before.shape[1]):
            old, new = before[row, column], after[row, column]
            if old == new:
                continue
            for y in range(rows[row], rows[row + 1]):
                for x in range(columns[column], columns[column + 1]):
                    if labels[y, x] == old:
                        labels[y, x] = new


def _nearest(labels: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return a label image at another size, each pixel that of the nearest one."""
    if labels.shape == size_hw:
        return labels
    rows, columns = _places(size_hw, labels.shape)
    return labels.take(columns, 1).take(rows, 0)


def _places(size_hw: tuple[int, int], given_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return which row and column of an image of a given size the pixels of another size lie in."""
    rows, columns = (
        ((np.arange(length) + 0.5) * (given / length)).astype(np.int64)
        for length, given in zip(size_hw, given_hw, strict=True)
    )
    return rows, columns


def _shrunk(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return an image at a smaller size. Halving it first takes OpenCV a fifth of the time."""
    if image.shape[:2] == size_hw:
        return image
    while image.shape[0] >= 2 * size_hw[0] and image.shape[1] >= 2 * size_hw[1]:
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_LINEAR)


def _inner(labels: np.ndarray, *radii: int) -> np.ndarray:
    """Return which pixels keep their segment, uint8 [H, W], 255 or 0.

    Those farther than the first radius from any border; where there are none of the same segment near, those farther
    than the next one; and all of a segment that would keep none.
    """
    inner = np.zeros(labels.shape, np.uint8)
    for radius, larger in zip(radii, (0, *radii), strict=False):
        square = _square(radius)
        alone = cv2.compare(cv2.dilate(labels, square), cv2.erode(labels, square), cv2.CMP_EQ)
        inner |= cv2.subtract(alone, cv2.dilate(inner, _square(larger))) if larger else alone
    seen = np.zeros(int(labels.max()) + 1, np.bool_)
    _see(labels, inner, seen)
    if not seen.all():
        inner[~seen[labels]] = 255
    return inner


@compiled("void(Array(uint16, 2, 'C', readonly=True), uint8[:, ::1], boolean[::1])")
def _see(labels: np.ndarray, inner: np.ndarray, seen: np.ndarray) -> None:
    """Write which segments, bool [K], have pixels in `inner`."""
    # Every second row and column: a segment that is not seen in them is small.
    for y in range(0, labels.shape[0], 2):
        for x in range(0, labels.shape[1], 2):
            if inner[y, x]:
                seen[labels[y, x]] = True


def _square(radius: int) -> np.ndarray:
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def _by_likeness(image_rgb: np.ndarray, labels: np.ndarray, favoured: np.ndarray | None, lead: float) -> np.ndarray:
    """Give pixels near borders the segment of those around that resemble them, if their own segment's do so less.

    Only two segments are compared at a time, their own and that of the most similar pixel of another: the cost is the
    same for any number of segments.

    Args:
        image_rgb: uint8 [h, w, 3].
        labels: uint16 [h, w].
        favoured, lead: see `refine_borders`.
    """
    h, w = labels.shape
    in_favour = int(lead * 255 * len(_AROUND))
    # -1 becomes 65535, which no segment has.
    held = np.full((h, w), -1).astype(np.uint16) if favoured is None else favoured.astype(np.uint16)
    colours = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2LAB)
    window = 2 * (2 * _LOOK + 1,)
    usual = cv2.blur(_difference(colours, cv2.blur(colours, window)), window)
    sixteenths = np.rint(16 * 16 / np.clip(_UNLIKE * usual, _NOISE, _CLEAR)).astype(np.uint8)
    framed = cv2.copyMakeBorder(labels, *4 * (_LOOK,), cv2.BORDER_REPLICATE)
    channels = np.stack(cv2.split(cv2.copyMakeBorder(colours, *4 * (_LOOK,), cv2.BORDER_REPLICATE)))
    likeness = np.empty((len(_AROUND), h, w), np.uint8)
    _compare(channels, sixteenths, _AROUND, _LIKENESS, likeness)
    for _ in range(_ROUNDS):
        own = np.ascontiguousarray(framed[_LOOK:-_LOOK, _LOOK:-_LOOK])
        moved = own.copy()
        inner = _inner(own, _REACH, _REACH_IN_NARROW)
        _vote(likeness, framed, _AROUND, inner, held, in_favour, moved)
        framed[_LOOK:-_LOOK, _LOOK:-_LOOK] = moved
    return moved


@compiled('void(uint8[:, :, ::1], uint8[:, ::1], int64[:, ::1], uint8[::1], uint8[:, :, ::1])')
def _compare(
    channels: np.ndarray, sixteenths: np.ndarray, around: np.ndarray, table: np.ndarray, likeness: np.ndarray
) -> None:
    """Write how much pixels resemble those around.

    Args:
        channels: uint8 [3, h + 2 _LOOK, w + 2 _LOOK], CIELAB.
        sixteenths: uint8 [h, w], 16 times 16 over the difference at which likeness falls to 1/e.
        around, table: _AROUND, _LIKENESS.
        likeness: uint8 [16, h, w].
    """
    steps, h, w = likeness.shape
    look = (channels.shape[1] - h) // 2
    index = np.empty(w, np.uint8)
    for y in range(h):
        unlike = sixteenths[y]
        for step in range(steps):
            begin = look + around[step, 1]
            a, b, c = channels[:, look + y, look : look + w]
            d, e, f = channels[:, look + y + around[step, 0], begin : begin + w]
            for x in range(w):
                difference = abs(np.int32(a[x]) - np.int32(d[x]))
                difference += abs(np.int32(b[x]) - np.int32(e[x])) + abs(np.int32(c[x]) - np.int32(f[x]))
                scaled = np.rint(np.float32(min(difference, np.int32(255)) * np.int32(unlike[x])) / np.float32(16))
                index[x] = np.uint8(min(scaled, np.float32(255)))
            for x in range(w):
                likeness[step, y, x] = table[index[x]]


@compiled('void(uint8[:, :, ::1], uint16[:, ::1], int64[:, ::1], uint8[:, ::1], uint16[:, ::1], int64, uint16[:, ::1])')
def _vote(
    likeness: np.ndarray,
    framed: np.ndarray,
    around: np.ndarray,
    inner: np.ndarray,
    favoured: np.ndarray,
    in_favour: int,
    moved: np.ndarray,
) -> None:
    """Do a round of `_by_likeness`.

    Args:
        likeness: uint8 [16, h, w], to the pixels around.
        framed: uint16 [h + 2 _LOOK, w + 2 _LOOK], the segments.
        around: _AROUND.
        inner: see `_inner`.
        favoured: uint16 [h, w], see `refine_borders`; 65535 = none.
        in_favour: what that counts for.
        moved: uint16 [h, w], the segments; written to.
    """
    h, w = moved.shape
    look = (framed.shape[0] - h) // 2
    for_own, for_rival, most, rival = np.empty((4, _TOGETHER), np.uint16)
    zero, extra = np.uint16(0), np.uint16(in_favour)
    for y in range(h):
        for left in range(0, w, _TOGETHER):
            n = min(_TOGETHER, w - left)
            own, held, kept = moved[y, left : left + n], favoured[y, left : left + n], inner[y, left : left + n]
            near = False
            for x in range(n):
                near |= kept[x] == 0
            if not near:
                continue
            for x in range(n):
                for_own[x] = extra if held[x] == own[x] else zero
                most[x] = zero
                rival[x] = own[x]
            for step in range(len(around)):
                alike = likeness[step, y, left : left + n]
                begin = look + left + around[step, 1]
                label = framed[look + y + around[step, 0], begin : begin + n]
                for x in range(n):
                    value = np.uint16(alike[x])
                    same = label[x] == own[x]
                    for_own[x] += value if same else zero
                    more = (not same) & (value >= most[x])
                    most[x] = value if more else most[x]
                    rival[x] = label[x] if more else rival[x]
            for x in range(n):
                for_rival[x] = extra if held[x] == rival[x] else zero
            for step in range(len(around)):
                alike = likeness[step, y, left : left + n]
                begin = look + left + around[step, 1]
                label = framed[look + y + around[step, 0], begin : begin + n]
                for x in range(n):
                    for_rival[x] += np.uint16(alike[x]) if label[x] == rival[x] else zero
            for x in range(n):
                own[x] = rival[x] if (for_rival[x] > for_own[x]) & (kept[x] == 0) else own[x]


def _difference(colours: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the difference summed over the channels, uint8 [h, w], 255 at most, of two images, uint8 [h, w, 3]."""
    first, second, third = cv2.split(cv2.absdiff(colours, others))
    return cv2.add(cv2.add(first, second), third)


def _by_watershed(image_rgb: np.ndarray, labels: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Flood from the pixels in `inner`, and let segments meet where colours change the most.

    Args:
        image_rgb: uint8 [H, W, 3].
        labels: uint16 [H, W].
        inner: uint8 [H, W]; pixels of another value than 0 keep their segment.
    """
    image = cv2.GaussianBlur(cv2.copyMakeBorder(image_rgb, 1, 1, 1, 1, cv2.BORDER_REPLICATE), (3, 3), 0)
    flooded = np.zeros(image.shape[:2], np.int32)
    cv2.add(labels, (1, 0, 0, 0), dst=flooded[1:-1, 1:-1], mask=inner, dtype=cv2.CV_32S)
    cv2.watershed(image, flooded)
    result = np.array(labels, np.uint16, order='C')
    _close_lines(image, flooded, result)
    return result


@compiled('void(uint8[:, :, ::1], int32[:, ::1], uint16[:, ::1])')
def _close_lines(image: np.ndarray, flooded: np.ndarray, labels: np.ndarray) -> None:
    """Write what a watershed flooded to `labels`, uint16 [H, W].

    OpenCV leaves lines between segments, 0 or -1, and one around the image. A pixel of a line gets the segment of the
    neighbour of the most similar colour, however segments are numbered.

    Args:
        image: uint8 [H + 2, W + 2, 3], RGB.
        flooded: int32 [H + 2, W + 2], segments from 1.
        labels: where no neighbour was flooded, a pixel keeps its segment.
    """
    h, w = labels.shape
    for y in range(1, h + 1):
        for x in range(1, w + 1):
            best = flooded[y, x]
            if best <= 0:
                least = np.int64(4 * 255)
                for row, column in ((y - 1, x), (y, x - 1), (y, x + 1), (y + 1, x)):
                    if flooded[row, column] <= 0:
                        continue
                    difference = np.int64(0)
                    for channel in range(3):
                        difference += abs(np.int64(image[row, column, channel]) - np.int64(image[y, x, channel]))
                    if difference < least:
                        best, least = flooded[row, column], difference
            if best > 0:
                labels[y - 1, x - 1] = best - 1


def _neighbours(h: int, w: int, dilations: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Return the index of each pixel's neighbours, int64 [h * w, 8 * dilations]."""
    rows, columns = torch.arange(h, device=device)[:, None], torch.arange(w, device=device)
    indices = [
        (rows + dilation * row).clamp(0, h - 1) * w + (columns + dilation * column).clamp(0, w - 1)
        for dilation in dilations
        for row, column in _STEPS
    ]
    return torch.stack(indices, 2).flatten(0, 1)


def _weights(image: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """Return the weight of each neighbour, float32 [h * w, neighbours]; those of a pixel sum to 1."""
    pixels = image.flatten(1)
    around = pixels[:, neighbours]
    # The pixel itself belongs to the window at every dilation.
    centre = pixels[:, :, None].expand(-1, -1, neighbours.shape[1] // len(_STEPS))
    deviation = torch.cat([around, centre], 2).std(2, keepdim=True)
    distance = (pixels[:, :, None] - around).abs() / (1e-8 + 0.1 * deviation)
    return torch.softmax(-distance.mean(0), 1)
