"""What the page knows of a frame: its picture, the node's segments, and the hierarchy to go up and down in."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import torch

from diffcut_ros.analysis.finest_cut import FinestCut, finest_cut, reduced_size
from diffcut_ros.analysis.report.gallery import encode_jpeg
from diffcut_ros.core import FeatureMap, Result, Segmentation, Segments
from diffcut_ros.core.assignment import mean_features
from diffcut_ros.core.classes import Source
from diffcut_ros.core.instances import part_features
from diffcut_ros.core.outlines import places
from diffcut_ros.core.runs import Runs

# A run of parts of a `FinestCut`: the first, and the last + 1.
Run = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Region:
    """Pixels of a frame that something may be an example of.

    Attributes:
        feature: float32 [C], as `Segment.feature`.
        score: as `Segment.score`.
        source: where it is; in pixels of the whole image.
        label: of the node's segment at the point; 0: there is none.
    """

    feature: np.ndarray = field(repr=False)
    score: float
    source: Source
    label: int


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame that can be clicked on; what is of its pixels is of the image at the reduced size, see `reduced_size`.

    Attributes:
        recording, topic, stamp_ns: of the image, as in `Source`.
        size_wh: of the whole image, px.
        image_jpeg: the image.
        labels: uint16 [h, w], the node's segments, 1..K; 0: none.
        segments: those, measured in the whole image.
        tau: that they were cut at.
        cut: the finest cut, from which the levels above and below follow.
        connected: whether only what is connected is one segment.
        places: int64 [K, 2], x y of a point well inside each segment.
        feature_map: of the image.
    """

    recording: str
    topic: str
    stamp_ns: int
    size_wh: tuple[int, int]
    image_jpeg: bytes = field(repr=False)
    labels: np.ndarray = field(repr=False)
    segments: Segments = field(repr=False)
    tau: float
    cut: FinestCut = field(repr=False)
    connected: bool
    places: np.ndarray = field(repr=False)
    feature_map: FeatureMap = field(repr=False)

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from others: `Source.image`."""
        return self.recording, self.topic, self.stamp_ns

    def reduced(self, x: int, y: int) -> tuple[int, int]:
        """Return where a pixel of the whole image is in the reduced one."""
        height, width = self.labels.shape
        return min(width - 1, x * width // self.size_wh[0]), min(height - 1, y * height // self.size_wh[1])

    def segment(self, label: int) -> Region:
        """Return one of the node's segments, by its label; ValueError where there is none."""
        if not 1 <= label <= len(self.segments):
            raise ValueError(f'segment: expected a label 1 to {len(self.segments)}, received {label}')
        return self.region(*self.places[label - 1].tolist())

    def region(self, x: int, y: int, run: Run | None = None) -> Region:
        """Return what a click means.

        Args:
            x, y: column and row of a pixel.
            run: of parts of the finest cut, in which the point is; None: the node's segment there.

        Raises:
            ValueError: for a point outside the image or in no segment, and for a run without the point.
        """
        height, width = self.labels.shape
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f'expected a point in the image of {width} x {height}, received ({x}, {y})')
        label = int(self.labels[y, x])
        if run is None:
            if not label:
                raise ValueError(f'there is no segment at ({x}, {y}): smaller ones are left out (min_segment_area)')
            one = self.segments[label - 1]
            return Region(one.feature, one.score, self._source(x, y, one.box_xyxy), label)
        if not 0 <= run[0] <= int(self.cut.parts[y, x]) < run[1] <= len(self.cut.taus) + 1:
            raise ValueError(f'expected a run of parts with the one at ({x}, {y}), received {run}')
        mask = self.mask(x, y, run)
        feature = self._feature(mask)
        score = min(1.0, float(np.linalg.norm(feature.astype(float))))
        x0, y0, w, h = cv2.boundingRect(mask.view(np.uint8))
        (whole_w, whole_h), (left, top) = self.size_wh, (x0, y0)
        box = (
            left * whole_w // width,
            top * whole_h // height,
            -(-(left + w) * whole_w // width),
            -(-(top + h) * whole_h // height),
        )
        return Region(feature, score, self._source(x, y, box), label)

    def mask(self, x: int, y: int, run: Run | None = None) -> np.ndarray:
        """Return the pixels that a click means, bool [h, w]; see `region`. The page finds the same ones."""
        if run is None:
            return self.labels == self.labels[y, x]
        mask = (self.cut.parts >= run[0]) & (self.cut.parts < run[1])
        if not self.connected:
            return mask
        _, parts = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
        return parts == parts[y, x]

    @torch.inference_mode()
    def _feature(self, mask: np.ndarray) -> np.ndarray:
        """Return the mean feature of a mask as the node has it for a segment, float32 [C]."""
        small = FeatureMap(self.feature_map.features, self.labels.shape)
        if self.connected:
            runs = Runs.of((~mask).view(np.uint8))
            return part_features(runs, runs.label, small)[0].cpu().numpy()
        # The cells with at least half of their pixels inside, or else the one with most of them.
        share = cv2.resize(mask.astype(np.float32), small.grid_hw[::-1], interpolation=cv2.INTER_AREA).ravel()
        cells = np.flatnonzero(share >= min(0.5, share.max()))
        return mean_features(small, np.zeros(len(cells), np.int64), cells)[0].cpu().numpy()

    def _source(self, x: int, y: int, box: tuple[int, int, int, int]) -> Source:
        height, width = self.labels.shape
        # The middle of the pixel: it is the same one when it is reduced again.
        at = (2 * x + 1) * self.size_wh[0] // (2 * width), (2 * y + 1) * self.size_wh[1] // (2 * height)
        return Source(self.recording, self.topic, self.stamp_ns, at, box, self.size_wh)


def frame_of(result: Result, recording: str, topic: str) -> Frame:
    """Return what is kept of a frame that was processed.

    Args:
        result: of the pipeline.
        recording, topic: as in `Source`.

    Raises:
        MemoryError: when the device has too little memory.
    """
    image, segmentation, config = result.scene.image_rgb, result.segmentation, result.cut.config
    size_hw = reduced_size(image.shape[:2])
    labels = cv2.resize(segmentation.labels, size_hw[::-1], interpolation=cv2.INTER_NEAREST).astype(np.uint16)
    scale = np.array(size_hw[::-1]) / image.shape[1::-1]
    return Frame(
        recording,
        topic,
        result.scene.stamp_ns,
        image.shape[1::-1],
        encode_jpeg(cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA)),
        labels,
        segmentation.segments,
        segmentation.tau,
        finest_cut(result.frame, config.alpha, segmentation.tau, config.refine),
        config.instances != 'segments',
        _inside(segmentation, labels, scale),
        result.frame.feature_map,
    )


def _inside(segmentation: Segmentation, labels: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return a point in each segment, int64 [K, 2] x y, as the reduced image shows it."""
    if not len(segmentation.segments):
        return np.zeros((0, 2), np.int64)
    middles, _ = places(segmentation)
    points = np.minimum((middles * scale).astype(np.int64), np.array(labels.shape[::-1]) - 1)
    for row in np.flatnonzero(labels[points[:, 1], points[:, 0]] != segmentation.segments.label):
        y, x = np.nonzero(labels == row + 1)
        if len(y):  # otherwise the reduced image has none of it
            points[row] = x[len(x) // 2], y[len(y) // 2]
    return points
