"""Validated results that pass between the stages of the pipeline."""

from dataclasses import dataclass, field

import numpy as np
import torch

# Identities fit into a label image of 16 bits.
MAX_TRACK_ID = 65535


def check_image(image_rgb: np.ndarray) -> None:
    """Check that an image is a uint8 array [H, W, 3] with at least one pixel.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(image_rgb, np.ndarray):
        received = type(image_rgb).__name__
    elif image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8 or image_rgb.size == 0:
        received = f'{image_rgb.dtype} {image_rgb.shape}'
    else:
        return
    raise ValueError(f'image_rgb: expected a uint8 array [H, W, 3] with at least one pixel, received {received}')


@dataclass(frozen=True)
class FeatureMap:
    """Features of an image on a regular grid of cells that covers the whole image.

    Cell (i, j) of an h x w grid covers the image rows [i * H / h, (i + 1) * H / h) and the columns
    [j * W / w, (j + 1) * W / w).

    Attributes:
        features: float32 tensor [h, w, C] on any device; not necessarily normalised.
        image_size_hw: height and width of the image in pixels.

    Raises:
        ValueError: for another shape or dtype, or an empty grid or image.
    """

    features: torch.Tensor
    image_size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        shape = tuple(self.features.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f'features: expected a tensor [h, w, C] with every side at least 1, received {shape}')
        if self.features.dtype != torch.float32:
            raise ValueError(f'features: expected torch.float32, received {self.features.dtype}')
        if len(self.image_size_hw) != 2 or min(self.image_size_hw) < 1:
            raise ValueError(f'image_size_hw: expected (height, width) of at least 1, received {self.image_size_hw}')

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return self.features.shape[0], self.features.shape[1]

    def flat(self) -> torch.Tensor:
        """Return the features as [h * w, C], row by row."""
        return self.features.reshape(-1, self.features.shape[2])


@dataclass(frozen=True)
class Segment:
    """One segment of an image.

    Attributes:
        label: its value in the label image, from 1.
        area_px: number of its pixels, at least 1.
        box_xyxy: the smallest box that holds its pixels: first column, first row, last column + 1, last row + 1.
        centroid_xy: mean column and row of its pixels, in pixels; a single pixel at column 3 has x = 3.
        score: cohesion, 0 to 1: mean cosine similarity of its cells to their mean feature.
        feature: float32 [C], mean of its cells' L2-normalised features.
        track_id: identity that persists from image to image, 1 to 65535; 0 = not tracked. See `core.tracking`.
    """

    label: int
    area_px: int
    box_xyxy: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    score: float
    feature: np.ndarray = field(repr=False)
    track_id: int = 0

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box_xyxy
        if self.label < 1:
            raise ValueError(f'label: expected at least 1 (0 means no segment), received {self.label}')
        if not (0 <= x0 < x1 and 0 <= y0 < y1):
            raise ValueError(f'box_xyxy: expected 0 <= x0 < x1 and 0 <= y0 < y1, received {self.box_xyxy}')
        if not 1 <= self.area_px <= (x1 - x0) * (y1 - y0):
            raise ValueError(f'area_px: expected 1 to the area of box {self.box_xyxy}, received {self.area_px}')
        if not (x0 <= self.centroid_xy[0] < x1 and y0 <= self.centroid_xy[1] < y1):
            raise ValueError(f'centroid_xy: expected a point inside {self.box_xyxy}, received {self.centroid_xy}')
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f'score: expected 0 to 1, received {self.score}')
        if self.feature.ndim != 1 or self.feature.dtype != np.float32:
            raise ValueError(f'feature: expected float32 [C], received {self.feature.dtype} {self.feature.shape}')
        if not 0 <= self.track_id <= MAX_TRACK_ID:
            raise ValueError(f'track_id: expected 0 (not tracked) to {MAX_TRACK_ID}, received {self.track_id}')


@dataclass(frozen=True)
class Segmentation:
    """The segments of one image.

    Attributes:
        labels: uint8 [H, W] while there are at most 255 segments, else uint16; 0 = none, 1..K = segments.
        segments: the K segments, `segments[k].label == k + 1`.
        tau: the NCut threshold these segments were cut at.

    Raises:
        ValueError: when labels and segments do not agree.
    """

    labels: np.ndarray = field(repr=False)
    segments: tuple[Segment, ...]
    tau: float

    def __post_init__(self) -> None:
        if len(self.segments) > 65535:
            raise ValueError(f'segments: expected at most 65535, received {len(self.segments)}')
        expected = np.uint8 if len(self.segments) <= 255 else np.uint16
        if self.labels.ndim != 2 or self.labels.dtype != expected or not self.labels.flags.c_contiguous:
            raise ValueError(
                f'labels: expected a contiguous {np.dtype(expected)} array [H, W] for {len(self.segments)} segments, '
                f'received {self.labels.dtype} {self.labels.shape}'
            )
        found = [segment.label for segment in self.segments]
        if found != list(range(1, len(found) + 1)):
            raise ValueError(f'segments: expected labels 1 to {len(found)} in order, received {found}')
        highest = int(self.labels.max(initial=0))
        if highest > len(found):
            raise ValueError(f'labels: expected values up to {len(found)}, the number of segments, received {highest}')
