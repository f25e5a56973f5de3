"""Parts in space: labels divided where depth jumps."""

from dataclasses import dataclass

import numpy as np

from diffcut_ros.core.compiled import compiled
from diffcut_ros.core.geometry import middles, sample_at
from diffcut_ros.core.part_graph import absorb, chosen, components, distinct, of_first

# Depth is compared between samples, of which an image has about so many.
_SAMPLES = 160 * 120
# A thing in space is somewhere at least so many samples wide and high. Depth and colour are offset by a few pixels:
# what is narrower is in general the rim that this leaves around a thing.
_THINNEST = 3
# Such a rim goes to a surface that it is part of, whatever its label, before it goes to another with its label.
_SMOOTH_WEIGHT = 1000
# Nearer than any camera measures: what is below is no depth.
_NEAREST_M = np.float32(1e-3)
# By how much damping widens the limit between what was of one part, and narrows it between what was of two: 1 + this
# times the damping.
_DAMPED = 8.0


def parts_in_space(
    labels: np.ndarray, depth_m: np.ndarray, jump: float, before: np.ndarray | None = None, damping: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Divide labels where depth jumps: what touches in the image only gets labels of its own.

    Depth is compared between neighbouring samples, some 160 x 120 over the image. It jumps where the inverse depth of
    each of the two is neither that of the other, nor where the slope behind the other leads (a plane, however slanted,
    is linear in inverse depth), up to `jump`. What is nowhere three samples wide and high goes to the surface that it
    is on, whatever its label; what has no depth goes to the part of its label that it has the longest border with.

    Args:
        labels: integers [H, W], at least 0.
        depth_m: float32 [H', W'] of the same view, NaN where there is none.
        jump: metres per metre of depth.
        before: int [H, W], the part of the image before that each pixel shows, or -1; None: not known.
        damping: against flicker, 0 = none: between what was of one part before, depth may change by more, and between
            what was of two by less.

    Returns:
        The part of each pixel, int32 [H, W], from 0, and the label of each, int64 [P]. Parts may be in several pieces,
        and some numbers may have no pixel.

    Raises:
        ValueError: for depth of another aspect.
    """
    samples = _Samples.of(labels, depth_m)
    label, near = samples.label.ravel(), samples.near.ravel()
    index = np.arange(label.size).reshape(samples.label.shape)
    left, right, above, below = index[:, :-1], index[:, 1:], index[:-1], index[1:]
    pairs = np.append(left, above), np.append(right, below)
    change = np.append(_change(samples.near), _change(samples.near.T).T)
    limit: float | np.ndarray = jump
    if before is not None and damping > 0:
        one, other = (samples.sampled(before).ravel()[side] for side in pairs)
        easier = np.where(one == other, 1 + _DAMPED * damping, 1 / (1 + _DAMPED * damping))
        limit = jump * np.where((one < 0) | (other < 0), 1, easier)
    smooth = change <= limit
    same = label[pairs[0]] == label[pairs[1]]
    # Samples without depth are connected among themselves.
    unknown = near == 0
    part = components(label.size, chosen(pairs, same & (smooth | unknown[pairs[0]] & unknown[pairs[1]])))
    solid = np.zeros(int(part.max()) + 1, bool)
    solid[_filling_a_window(part.reshape(index.shape))] = True
    solid[part[unknown]] = False
    # What goes on without a jump counts more than what has the same label.
    weight = same + _SMOOTH_WEIGHT * smooth
    to_absorb = np.flatnonzero((weight > 0) & ~(solid[part[pairs[0]]] & solid[part[pairs[1]]]))
    touching, border = distinct(chosen((part[pairs[0]], part[pairs[1]]), to_absorb), len(solid), weight[to_absorb])
    owner = absorb(~solid, touching, border)
    pixels = samples.paint(labels, owner[part].reshape(index.shape), len(solid), jump)
    return pixels, np.append(of_first(part, label), np.arange(int(labels.max()) + 1))


@dataclass(frozen=True, eq=False)
class _Samples:
    """Samples of an image, about 160 x 120, each in the middle of a block.

    Attributes:
        rows, columns: int64 [h], [w], how many rows and columns of pixels the blocks have.
        label: integers [h, w].
        near: float32 [h, w], inverse depth, 1/m; 0 = no depth.
        depth_at: float32 [H, W], depth of the pixels, m; NaN = none.
    """

    rows: np.ndarray
    columns: np.ndarray
    label: np.ndarray
    near: np.ndarray
    depth_at: np.ndarray

    @staticmethod
    def of(labels: np.ndarray, depth_m: np.ndarray) -> '_Samples':
        height, width = labels.shape
        step = max(1.0, (height * width / _SAMPLES) ** 0.5)
        h, w = max(1, round(height / step)), max(1, round(width / step))
        at = middles(height, h)[:, None], middles(width, w)
        depth_m = sample_at(depth_m, labels.shape)
        depth = depth_m[at]
        near = np.divide(1, depth, out=np.zeros_like(depth), where=depth >= _NEAREST_M)
        rows, columns = (np.diff(np.arange(n + 1) * side // n) for n, side in ((h, height), (w, width)))
        return _Samples(rows, columns, labels[at], near, depth_m)

    def sampled(self, image: np.ndarray) -> np.ndarray:
        """Return the value of each sample, [h, w], of an image [H, W]."""
        return image[middles(len(image), len(self.rows))[:, None], middles(image.shape[1], len(self.columns))]

    def paint(self, labels: np.ndarray, part: np.ndarray, count: int, jump: float) -> np.ndarray:
        """Return the part of each pixel, int32 [H, W]: of the samples around with its label the one nearest in depth.

        Args:
            labels: integers [H, W].
            part: integers [h, w], 0..count-1, of the samples.
            count: of parts. Where no sample around has its label, a pixel gets this + its label.
            jump: see `parts_in_space`.
        """
        row, column = (np.repeat(np.arange(len(n)), n) for n in (self.rows, self.columns))
        return _paint(
            np.ascontiguousarray(labels, np.uint16),
            np.ascontiguousarray(self.depth_at, np.float32),
            row,
            column,
            np.ascontiguousarray(self.label, np.uint16),
            np.ascontiguousarray(self.near, np.float32),
            part.astype(np.int32),
            count,
            jump,
        )


@compiled(
    'int32[:, ::1](uint16[:, ::1], float32[:, ::1], int64[::1], int64[::1], uint16[:, ::1], float32[:, ::1], '
    'int32[:, ::1], int64, float32)'
)
def _paint(
    labels: np.ndarray,
    depth_at: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    label: np.ndarray,
    near: np.ndarray,
    part: np.ndarray,
    count: int,
    jump: float,
) -> np.ndarray:
    """Do what `_Samples.paint` says; row and column are those of the block of a pixel, int64 [H] and [W]."""
    h, w = part.shape
    pixels = np.empty(labels.shape, np.int32)
    for y in range(labels.shape[0]):
        i = row[y]
        label_here, near_here, part_here = label[i], near[i], part[i]
        for x in range(labels.shape[1]):
            own, j, here = labels[y, x], column[x], depth_at[y, x]
            known = here >= _NEAREST_M
            # Most pixels are like their block's sample.
            if label_here[j] == own and (not known or abs(near_here[j] * here - np.float32(1)) <= jump):
                pixels[y, x] = part_here[j]
                continue
            inverse = np.float32(1) / here if known else np.float32(0)
            found, cost = count + own, np.float32(np.inf)
            for dy in (0, -1, 1):
                for dx in (0, -1, 1):
                    a, b = min(max(i + dy, 0), h - 1), min(max(j + dx, 0), w - 1)
                    if label[a, b] != own:
                        continue
                    # Without depth the nearest sample counts.
                    both = known and near[a, b] > 0
                    far = abs(near[a, b] - inverse) if both else np.float32(1e6 + abs(dy) + abs(dx))
                    if far < cost:
                        found, cost = part[a, b], far
            pixels[y, x] = found
    return pixels


def _filling_a_window(part: np.ndarray) -> np.ndarray:
    """Return those values of an image that fill a window of `_THINNEST` x `_THINNEST`."""
    h, w = (max(0, side - _THINNEST + 1) for side in part.shape)
    corner, filled = part[:h, :w], np.ones((h, w), bool)
    for dy, dx in np.ndindex(_THINNEST, _THINNEST):
        filled &= part[dy : dy + h, dx : dx + w] == corner
    return np.unique(corner[filled])


def _change(near: np.ndarray) -> np.ndarray:
    """Return by which share of itself depth changes between columns, beyond its slant; see `parts_in_space`.

    Returns:
        float32 [h, w - 1], infinite where one of the two has no depth.
    """
    step = np.diff(near, axis=1)
    known = (near[:, 1:] > 0) & (near[:, :-1] > 0)
    # The slope behind each of the two, where two samples there are known: not with the sample itself, which may lie
    # halfway between two surfaces.
    slope = np.where(known, step, 0)
    before, after = np.zeros_like(step), np.zeros_like(step)
    before[:, 2:], after[:, :-2] = slope[:, :-2], slope[:, 2:]
    least = np.minimum(np.abs(step), np.minimum(np.abs(step - before), np.abs(step - after)))
    return np.divide(least, np.minimum(near[:, 1:], near[:, :-1]), out=np.full_like(least, np.inf), where=known)
