"""One image, its features and all that is computed from them: hierarchy, cut, segments."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from diffcut_ros.core.affinity import graph_of
from diffcut_ros.core.assignment import assign_concepts, concept_features
from diffcut_ros.core.geometry import middles
from diffcut_ros.core.instances import INSTANCES, connected_parts, part_features
from diffcut_ros.core.memory import check_memory, within_memory
from diffcut_ros.core.ncut import recursive_ncut
from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.core.parts_in_space import parts_in_space
from diffcut_ros.core.refinement import refine_assignment, refine_borders
from diffcut_ros.core.runs import Runs
from diffcut_ros.core.threads import threads_for
from diffcut_ros.core.tree import SegmentTree
from diffcut_ros.core.types import MAX_SEGMENTS, FeatureMap, Segmentation, Segments

Result = TypeVar('Result')

# A graph without any structure has an NCut value of 1: beyond it, splits are arbitrary.
_LARGEST_TAU = 1.0
# How many matrices of all cells by all cells, float32, a hierarchy takes at most on a CPU, with the affinity: 1.7 to
# 2.2 of 8192 to 2048 cells.
_MATRICES = 2.2
# Where the search for a number of segments looks, one after the other.
_TARGET_TAUS = (0.5, 0.7, 0.8, 0.9, _LARGEST_TAU)


@dataclass(frozen=True)
class SegmenterConfig:
    """Settings of the mask stage; raises ValueError for a value out of its range."""

    tau: float = parameter(
        0.5,
        'NCut threshold: subsets whose best split has a lower NCut value are split. Larger gives more, finer segments',
        minimum=0.0,
        maximum=_LARGEST_TAU,
        live=True,
    )
    alpha: float = parameter(
        10.0,
        'Exponent of the affinity; larger suppresses weak affinities',
        minimum=0.1,
        maximum=100.0,
        live=True,
    )
    target_segments: int = parameter(
        0,
        'At most this many segments per image: the largest tau up to 1 that gives no more is found for each image, '
        'the smallest of more parts go to neighbours, and tau is not used; 0 = use tau',
        minimum=0,
        maximum=1000,
        live=True,
    )
    min_segment_area: int = parameter(
        0,
        'Segments with fewer pixels are left out; their pixels become 0 (none)',
        unit='px',
        minimum=0,
        maximum=100_000_000,
        live=True,
    )
    damping: float = parameter(
        0.0,
        'Reduces flicker (0 = off): how strongly an image keeps the previous segments; try 0.2',
        minimum=0.0,
        maximum=0.5,
        live=True,
    )
    instances: str = parameter(
        'connected',
        'What counts as one segment: segments (of the cut, in any number of parts), connected (each connected part), '
        'space (connected parts, divided where depth jumps; needs depth)',
        choices=INSTANCES,
        live=True,
    )
    min_part_share: float = parameter(
        0.001,
        'With connected and space: parts smaller than this share of the image go to the neighbour they resemble most',
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    depth_jump: float = parameter(
        0.05,
        'With space: depth jumps where it changes by more than this share of itself between neighbours of 160 x 120 '
        'samples, beyond what the slant of the surface explains',
        unit='m/m',
        minimum=0.001,
        maximum=10.0,
        live=True,
    )
    refine: str = parameter(
        'watershed',
        "Moves segment borders to the image's edges: none, watershed, or pamr (as in the paper; seven times as "
        'long, and small segments may vanish)',
        choices=('none', 'watershed', 'pamr'),
        live=True,
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, eq=False)
class Cut:
    """How an image was cut.

    Attributes:
        config: the settings.
        tree: the hierarchy.
        cells: int64 [h * w], the segment 0..K-1 of each cell.
        parts: uint16 [H, W], the part 0..P-1 of each pixel, before small ones are left out.
        segment: int64 [P], the segment of `cells` that each is part of.
        concepts: float32 [P, C], mean L2-normalised feature of each part.
        tau: the threshold the hierarchy was cut at.
        pixels: uint16 [H, W], the segment of `cells` of each pixel before borders were moved; None: they were not.
    """

    config: SegmenterConfig
    tree: SegmentTree
    cells: np.ndarray
    parts: np.ndarray
    segment: np.ndarray
    concepts: np.ndarray
    tau: float
    pixels: np.ndarray | None = None


class Frame:
    """One image and its features with all that is computed from them, so that no cut computes it twice.

    Cuts of one frame must not run at the same time; those of different frames may.

    Args:
        image_rgb: uint8 [H, W, 3].
        feature_map: of that image.
        before: for `SegmenterConfig.damping`: given this image, returns the part 0..J-1 of the camera's last image that
            each pixel shows, or -1, int [H, W], or a stack of that and of `Cut.pixels`, [2, H, W]. It is called once at
            most. Without it nothing is damped.
        segment_before: int [J], the segment of each of these parts; None: each is one.
        depth_m: float32 [H', W'] of the same view in metres, NaN where there is none, for `SegmenterConfig.instances`
            space, which is connected without it.

    Attributes:
        image_rgb, feature_map, depth_m: as given.
        cells: int64 [h * w], the segment 0..K-1 of each cell as last cut; None before.
        parts: uint16 [H, W], the part 0..P-1 of each pixel as last cut, before small ones are left out; None before.
        segment: int64 [P], the segment of `cells` that each is part of; None before.
        pixels: see `Cut`.
    """

    def __init__(
        self,
        image_rgb: np.ndarray,
        feature_map: FeatureMap,
        before: Callable[[np.ndarray], np.ndarray] | None = None,
        segment_before: np.ndarray | None = None,
        depth_m: np.ndarray | None = None,
    ) -> None:
        self.image_rgb = image_rgb
        self.depth_m = depth_m
        self.cells: np.ndarray | None = None
        self.parts: np.ndarray | None = None
        self.segment: np.ndarray | None = None
        self.pixels: np.ndarray | None = None
        self._config: SegmenterConfig | None = None
        self._concepts, self._tau = np.zeros((0, 0), np.float32), 0.0  # see `Cut`
        self.follow(before, segment_before)
        self._carried: np.ndarray | None = None
        self.feature_map = feature_map
        self._alpha: float | None = None
        self._affinity: torch.Tensor | None = None
        self._tree: SegmentTree | None = None

    def follow(
        self, before: Callable[[np.ndarray], np.ndarray] | None, segment_before: np.ndarray | None = None
    ) -> None:
        """Let the frame follow the image before; until its first cut, and as the arguments of these names say."""
        self._before, self._segment_before = before, segment_before

    @torch.inference_mode()
    def grow(self, config: SegmenterConfig) -> None:
        """Compute the hierarchy as deep as a cut at these settings looks into it; no image before is needed for it.

        Raises:
            MemoryError: when the device has too little memory.
        """
        self._within_memory(lambda: self._grown(config))

    @torch.inference_mode()
    def cut(self, config: SegmenterConfig) -> Segmentation:
        """Return the segments of the image at these settings.

        Raises:
            MemoryError: when the device has too little memory.
        """
        return self._within_memory(lambda: self._cut(config))

    @property
    def last_cut(self) -> Cut:
        """How the image was cut last; other cuts leave it as it is.

        Raises:
            RuntimeError: before the first cut.
        """
        tree, cells, parts, segment = self._tree, self.cells, self.parts, self.segment
        if self._config is None or tree is None or cells is None or parts is None or segment is None:
            raise RuntimeError('last_cut: expected the frame to have been cut, it has not')
        return Cut(self._config, tree, cells, parts, segment, self._concepts, self._tau, self.pixels)

    @torch.inference_mode()
    def tree(self, alpha: float, tau: float) -> SegmentTree:
        """Return the hierarchy of the image's cells at this alpha, down to at least this tau; see `recursive_ncut`.

        Raises:
            MemoryError: when the device has too little memory.
        """
        return self._within_memory(lambda: self._tree_for(alpha, tau))

    def _within_memory(self, work: Callable[[], Result]) -> Result:
        with threads_for(math.prod(self.feature_map.grid_hw)):
            return within_memory(work, self.feature_map.features.device, self._advice)

    @property
    def _advice(self) -> str:
        cells = math.prod(self.feature_map.grid_hw)
        return f'a graph of {cells} cells needs more; take a smaller input_size, or fewer color.cells'

    def _cut(self, config: SegmenterConfig) -> Segmentation:
        tau, tree = self._grown(config)
        parts_before, pixels_before = self._carried_parts() if config.damping > 0 else (None, None)
        carried = self._segments_before(parts_before)
        # Borders that were moved would be moved on, image after image.
        own = carried if pixels_before is None else pixels_before
        last = None if own is None else _at_cells(own, self.feature_map.grid_hw)
        if last is None or config.target_segments:
            self.cells = tree.cut(tau)
        else:
            self.cells = tree.cut_like(last, tau, config.damping)
        device = self.feature_map.features.device
        concepts = concept_features(self.feature_map, self.cells)
        table = None
        if config.refine == 'pamr':
            labels = refine_assignment(self.image_rgb, self.feature_map, concepts)
        elif carried is None or own is None or last is None:
            labels = assign_concepts(self.feature_map, concepts)
        else:
            successors = _successors(last, self.cells, 1 + max(carried.max(), own.max()))
            # Held back like any other, a new segment would begin as a rest of itself, too small to be seen again.
            lead = np.full(len(concepts), config.damping / 2, np.float32)
            lead[successors[successors >= 0]] = config.damping
            table = np.append(successors, -1)  # the last value is for -1
            to_device = (torch.from_numpy(values).to(device) for values in (table.take(own), lead))
            labels = assign_concepts(self.feature_map, concepts, *to_device)
        pixels = labels.cpu().numpy().astype(np.uint16)
        self.pixels = None
        if config.refine == 'watershed':
            self.pixels = pixels
            favoured = None if table is None or carried is None else table.take(carried)
            pixels = refine_borders(self.image_rgb, pixels, self.feature_map.grid_hw, favoured, config.damping)
        return self._describe(pixels, concepts, config, tau, parts_before)

    def _describe(
        self,
        labels: np.ndarray,
        concepts: torch.Tensor,
        config: SegmenterConfig,
        tau: float,
        parts_before: np.ndarray | None,
    ) -> Segmentation:
        """Divide segments into instances, see `SegmenterConfig.instances`, and describe them.

        Args:
            labels: integers [H, W], 0..K-1.
            concepts: float32 [K, C], mean L2-normalised feature of each segment.
            config: settings.
            tau: the threshold these segments were cut at.
            parts_before: int [H, W], carried from the image before, or -1; None: not known.
        """
        self._config = config
        self.parts, self.segment = labels, np.arange(len(concepts))
        if config.instances == 'space' and self.depth_m is not None:
            labels, self.segment = parts_in_space(labels, self.depth_m, config.depth_jump, parts_before, config.damping)
        if config.instances != 'segments':
            most = config.target_segments or MAX_SEGMENTS
            parts, label = connected_parts(labels, self.feature_map, config.min_part_share * labels.size, most)
            self.parts, self.segment = parts.astype(np.uint16), self.segment[label]
            runs = Runs.of(parts)
            concepts = part_features(runs, runs.label, self.feature_map)
        self._concepts, self._tau = concepts.cpu().numpy(), tau
        return describe_segments(self.parts, self._concepts, config.min_segment_area, tau, self.segment)

    def _segments_before(self, parts: np.ndarray | None) -> np.ndarray | None:
        if parts is None or self._segment_before is None:
            return parts
        # The last value is for -1; NumPy takes less time here than PyTorch.
        return np.append(self._segment_before, -1).take(parts)

    def _carried_parts(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return what `before` gives: parts and, where borders were moved, `Cut.pixels`."""
        if self._before is not None:
            # Let go: it holds the image before.
            self._carried, self._before = self._before(self.image_rgb), None
        if self._carried is None or self._carried.ndim == 2:
            return self._carried, None
        return self._carried[0], self._carried[1]

    def _grown(self, config: SegmenterConfig) -> tuple[float, SegmentTree]:
        """Return the tau that a cut at these settings is made at, and the hierarchy as deep as it looks into it."""
        if config.target_segments:
            tau = self._tau_for(config.target_segments, config.alpha)
            return tau, self._tree_for(config.alpha, tau)
        return config.tau, self._tree_for(config.alpha, min(_LARGEST_TAU, config.tau * (1 + config.damping)))

    def _tau_for(self, target_segments: int, alpha: float) -> float:
        """Return the largest tau that gives at most so many segments."""
        # The hierarchy grows until it has more: its last part takes most of the time, and few need it.
        for deepest in _TARGET_TAUS:
            tau = self._tree_for(alpha, deepest).tau_for(target_segments)
            if tau < deepest:
                break
        return tau

    def _tree_for(self, alpha: float, tau: float) -> SegmentTree:
        """Return the hierarchy at this alpha, down to at least this tau."""
        if self._affinity is None or self._alpha != alpha:
            bytes_of_graph = _MATRICES * 4 * math.prod(self.feature_map.grid_hw) ** 2
            check_memory(bytes_of_graph, self.feature_map.features.device, self._advice)
            self._affinity = graph_of(self.feature_map, alpha, lower=True)
            self._tree, self._alpha = None, alpha
        if self._tree is None or self._tree.tau < tau:
            self._tree = recursive_ncut(self._affinity, tau, tree=self._tree, checked=True)
        return self._tree


def _at_cells(pixels: np.ndarray, grid_hw: tuple[int, int]) -> np.ndarray:
    """Return the values [h * w] of an image [H, W] in the middle of each cell."""
    y, x = map(middles, pixels.shape, grid_hw)
    return pixels[y[:, None], x].ravel()


def _successors(before: np.ndarray, cells: np.ndarray, count: int) -> np.ndarray:
    """Return which segment goes on from each one of the image before.

    Args:
        before: int [N], 0..count-1, the segment that each cell belonged to, or -1.
        cells: int64 [N], 0..K-1.
        count: number of segments before.

    Returns:
        int64 [count], 0..K-1, or -1: segments are paired so that as many cells as possible stay.
    """
    known = before >= 0
    segments = cells.max() + 1
    shared = np.bincount(before[known] * segments + cells[known], minlength=count * segments).reshape(count, segments)
    row, column = linear_sum_assignment(shared, maximize=True)
    successor = np.full(count, -1)
    successor[row] = np.where(shared[row, column] > 0, column, -1)
    return successor


def describe_segments(
    labels: np.ndarray,
    concepts: np.ndarray,
    min_segment_area: int,
    tau: float,
    segment: np.ndarray | None = None,
    track_id: np.ndarray | None = None,
) -> Segmentation:
    """Measure the segments of a label image and drop those that are too small.

    Args:
        labels: integers [H, W], 0..K-1.
        concepts: float32 [K, C], mean L2-normalised feature of each segment.
        min_segment_area: in pixels; smaller segments and segments without pixels are dropped.
        tau: the threshold these segments were cut at.
        segment: int64 [K], the segment 0, 1, ... of the cut that each is part of; None: each is one.
        track_id: int64 [K], of each; None: not tracked.

    Returns:
        The segments that are left, numbered from 1 in the order of their old labels.
    """
    runs, count = Runs.of(labels), len(concepts)
    area = np.bincount(runs.label, runs.length, count).astype(np.int64)
    kept = np.flatnonzero(area >= max(1, min_segment_area))
    new_label = np.zeros(count, np.uint8 if len(kept) <= 255 else np.uint16)
    new_label[kept] = np.arange(1, len(kept) + 1)
    # The runs of one segment after the other, from the top.
    order = np.argsort(runs.label, kind='stable')
    order = order[new_label[runs.label[order]] > 0]
    length, index = runs.length[order], new_label[runs.label[order]] - 1
    y, x0 = np.divmod(runs.begin[order], labels.shape[1])
    x1 = x0 + length
    first = np.searchsorted(index, np.arange(len(kept)))
    last = np.append(first[1:], len(order))[: len(kept)] - 1
    box = np.minimum.reduceat(x0, first), y[first], np.maximum.reduceat(x1, first), y[last] + 1
    # A run's middle is its mean column.
    middle = np.bincount(index, length * (x0 + x1 - 1) / 2, len(kept)), np.bincount(index, length * y, len(kept))
    feature = concepts[kept]
    segments = Segments(
        label=np.arange(1, len(kept) + 1),
        segment=1 + (kept if segment is None else segment[kept]),
        area_px=area[kept],
        box_xyxy=np.stack(box, 1),
        centroid_xy=np.stack(middle, 1) / area[kept, None],
        # The mean of unit vectors m has mean cosine similarity |m| to its own direction.
        score=np.minimum(1, np.sqrt((feature.astype(float) ** 2).sum(1))),
        feature=feature,
        track_id=np.zeros(len(kept), np.int64) if track_id is None else track_id[kept],
    )
    return Segmentation(runs.painted(new_label[runs.label]), segments, tau)
