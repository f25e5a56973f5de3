"""Validated results that pass between the stages of the pipeline."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F

# Labels and track ids fit into an image of 16 bits.
MAX_SEGMENTS = MAX_TRACK_ID = 65535


def check_image(image_rgb: np.ndarray) -> None:
    """Check that an image is a uint8 array [H, W, 3] with at least one pixel.

    Raises:
        ValueError: for anything else.
    """
    hint = ''
    if not isinstance(image_rgb, np.ndarray):
        received = type(image_rgb).__name__
    elif image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8 or image_rgb.size == 0:
        received = f'{image_rgb.dtype} {image_rgb.shape}'
        if image_rgb.dtype == np.uint8 and image_rgb.ndim == 2 and image_rgb.size:
            hint = '; a gray image: np.dstack([gray] * 3)'
        elif image_rgb.dtype == np.uint8 and image_rgb.shape[2:] == (4,) and image_rgb.size:
            hint = '; without its alpha: image[:, :, :3]'
    else:
        return
    expected = 'expected a uint8 array [H, W, 3] with at least one pixel'
    raise ValueError(f'image_rgb: {expected}, received {received}{hint}')


@dataclass(frozen=True)
class FeatureMap:
    """Features of an image on a regular grid of cells that covers the whole image.

    Cell (i, j) of an h x w grid covers the image rows [i * H / h, (i + 1) * H / h) and the columns
    [j * W / w, (j + 1) * W / w).

    Attributes:
        features: float32 tensor [h, w, C] on any device; not necessarily normalised.
        image_size_hw: height and width of the image in pixels.
        points: where the features' cosine similarity is about exp(-d^2 / 2) for two cells at distance d, as with
            Fourier features of a Gaussian kernel: the cells' places, float32 [h, w, D] on the same device, from which
            their affinity is computed exactly and in less time; else None.

    Raises:
        ValueError: for another shape or dtype, or an empty grid or image.
    """

    features: torch.Tensor
    image_size_hw: tuple[int, int]
    points: torch.Tensor | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.features.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f'features: expected a tensor [h, w, C] with every side at least 1, received {shape}')
        if self.features.dtype != torch.float32:
            raise ValueError(f'features: expected torch.float32, received {self.features.dtype}')
        if len(self.image_size_hw) != 2 or min(self.image_size_hw) < 1:
            raise ValueError(f'image_size_hw: expected (height, width) of at least 1, received {self.image_size_hw}')
        if self.points is not None and (self.points.ndim != 3 or self.points.shape[:2] != shape[:2]):
            raise ValueError(
                f'points: expected a tensor [{shape[0]}, {shape[1]}, D], received {tuple(self.points.shape)}'
            )

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return self.features.shape[0], self.features.shape[1]

    def flat(self) -> torch.Tensor:
        """Return the features as [h * w, C], row by row."""
        return self.features.reshape(-1, self.features.shape[2])

    @cached_property
    def unit(self) -> torch.Tensor:
        """The features [h * w, C], row by row, L2-normalised; zeros stay."""
        return F.normalize(self.flat(), dim=1)


@dataclass(frozen=True, eq=False)
class Segment:
    """One segment of an image: a row of `Segments`, which says what its fields are."""

    label: int
    segment: int
    area_px: int
    box_xyxy: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    score: float
    feature: np.ndarray = field(repr=False)
    track_id: int


@dataclass(frozen=True, eq=False)
class Segments:
    """K segments of an image as arrays, one row each.

    `segments[segments.area_px > 500]` are those that a mask, a slice or indices choose, `segments[3]` is one `Segment`,
    and to iterate gives one after the other.

    Attributes:
        label: int64 [K], their values in the label image, from 1.
        segment: int64 [K], the segment of the cut that each is part of, from 1; see `SegmenterConfig.instances`.
        area_px: int64 [K], number of their pixels, at least 1.
        box_xyxy: int64 [K, 4], the smallest box that holds the pixels: first column, first row, last column + 1, last
            row + 1.
        centroid_xy: float64 [K, 2], mean column and row of the pixels, in pixels; a single pixel at column 3 has x = 3.
        score: float64 [K], cohesion, 0 to 1: mean cosine similarity of the cells to their mean feature.
        feature: float32 [K, C], mean of the cells' L2-normalised features.
        track_id: int64 [K], the same in each image that shows the segment, 1 to 65535; 0 = not tracked. See
            `core.tracking`.

    Raises:
        ValueError: for another shape or dtype, or a value out of its range.
    """

    label: np.ndarray
    segment: np.ndarray
    area_px: np.ndarray
    box_xyxy: np.ndarray
    centroid_xy: np.ndarray
    score: np.ndarray
    feature: np.ndarray = field(repr=False)
    track_id: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.label)
        for name, (dtype, *sides) in _SHAPES.items():
            values = getattr(self, name)
            fits = values.ndim == 1 + len(sides) and values.shape[1:] == tuple(s or values.shape[1] for s in sides)
            if values.dtype != dtype or len(values) != count or not fits:
                shape = ', '.join(['K', *(str(side or 'C') for side in sides)])
                raise ValueError(
                    f'{name}: expected {np.dtype(dtype)} [{shape}] with K = {count}, '
                    f'received {values.dtype} {values.shape}'
                )
        x0, y0, x1, y1 = self.box_xyxy.T
        x, y = self.centroid_xy.T
        for name, expected, right in (
            ('label', 'at least 1 (0 means no segment)', self.label >= 1),
            ('segment', 'at least 1', self.segment >= 1),
            ('box_xyxy', '0 <= x0 < x1 and 0 <= y0 < y1', (x0 >= 0) & (x0 < x1) & (y0 >= 0) & (y0 < y1)),
            ('area_px', '1 to the area of its box', (self.area_px >= 1) & (self.area_px <= (x1 - x0) * (y1 - y0))),
            ('centroid_xy', 'a point inside its box', (x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)),
            ('score', '0 to 1', (self.score >= 0) & (self.score <= 1)),
            (
                'track_id',
                f'0 (not tracked) to {MAX_TRACK_ID}',
                (self.track_id >= 0) & (self.track_id <= MAX_TRACK_ID),
            ),
        ):
            if not right.all():
                wrong = int(np.flatnonzero(~right)[0])
                raise ValueError(f'{name}: expected {expected}, received {getattr(self, name)[wrong]} in row {wrong}')

    def __len__(self) -> int:
        return len(self.label)

    def __iter__(self) -> Iterator[Segment]:
        columns = (self.label, self.segment, self.area_px, self.box_xyxy, self.centroid_xy, self.score)
        rows = zip(*(values.tolist() for values in columns), self.feature, self.track_id.tolist(), strict=True)
        for label, segment, area_px, box_xyxy, centroid_xy, score, feature, track_id in rows:
            yield Segment(label, segment, area_px, tuple(box_xyxy), tuple(centroid_xy), score, feature, track_id)

    @overload
    def __getitem__(self, rows: int) -> Segment: ...
    @overload
    def __getitem__(self, rows: slice | np.ndarray | Sequence[int]) -> 'Segments': ...
    def __getitem__(self, rows: int | slice | np.ndarray | Sequence[int]) -> 'Segment | Segments':
        if isinstance(rows, slice):
            chosen = np.arange(len(self))[rows]
        else:
            given = np.asarray(rows)
            # An empty list is an array of floats. Masks of another length, and indices beyond, are NumPy's IndexError.
            chosen = np.arange(len(self))[given if given.size or given.dtype == bool else given.astype(np.int64)]
        if chosen.ndim == 0:
            return next(iter(self[int(chosen) : int(chosen) + 1]))
        if chosen.ndim > 1:
            raise IndexError(f'segments: expected an index, a slice, a mask or a list of indices, received {rows!r}')
        return Segments(*(values[chosen] for values in vars(self).values()))


# Of the attributes of `Segments`: dtype, then the sides after K; None is any.
_SHAPES: dict[str, tuple[Any, ...]] = {
    'label': (np.int64,),
    'segment': (np.int64,),
    'area_px': (np.int64,),
    'box_xyxy': (np.int64, 4),
    'centroid_xy': (np.float64, 2),
    'score': (np.float64,),
    'feature': (np.float32, None),
    'track_id': (np.int64,),
}


@dataclass(frozen=True)
class Segmentation:
    """The segments of one image.

    Attributes:
        labels: uint8 [H, W] while there are at most 255 segments, else uint16; 0 = none, 1..K = segments.
        segments: the K segments, with labels 1..K in order.
        tau: the NCut threshold these segments were cut at.

    Raises:
        ValueError: when labels and segments do not agree.
    """

    labels: np.ndarray = field(repr=False)
    segments: Segments
    tau: float

    def __post_init__(self) -> None:
        count = len(self.segments)
        if count > MAX_SEGMENTS:
            raise ValueError(f'segments: expected at most {MAX_SEGMENTS}, received {count}')
        expected = np.uint8 if count <= 255 else np.uint16
        if self.labels.ndim != 2 or self.labels.dtype != expected or not self.labels.flags.c_contiguous:
            raise ValueError(
                f'labels: expected a contiguous {np.dtype(expected)} array [H, W] for {count} segments, '
                f'received {self.labels.dtype} {self.labels.shape}'
            )
        if not np.array_equal(self.segments.label, np.arange(1, count + 1)):
            raise ValueError(
                f'segments: expected labels 1 to {count} in order, received {self.segments.label.tolist()}'
            )
        highest = int(self.labels.max(initial=0))
        if highest > count:
            raise ValueError(f'labels: expected values up to {count}, the number of segments, received {highest}')

    def labels_by_track(self) -> np.ndarray:
        """Return a label image whose values are the segments' track ids.

        Returns:
            uint16 [H, W], `track_id` of the segment of each pixel; 0 = no segment, or not tracked.
        """
        return np.append(0, self.segments.track_id).astype(np.uint16).take(self.labels)
