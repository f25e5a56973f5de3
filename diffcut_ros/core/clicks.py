"""What a click in an image means: the segment there or, one level up after the other, what it is part of."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from diffcut_ros.core.assignment import concept_features
from diffcut_ros.core.frame import Cut, describe_segments
from diffcut_ros.core.geometry import SegmentGeometry
from diffcut_ros.core.instances import part_features
from diffcut_ros.core.part_graph import chosen, components, distinct
from diffcut_ros.core.parts_in_space import parts_in_space
from diffcut_ros.core.pipeline import Result
from diffcut_ros.core.runs import Runs
from diffcut_ros.core.types import Segment, Segments


@dataclass(frozen=True, eq=False)
class Clicked:
    """What was clicked on.

    Attributes:
        segments: it alone, one row, described as any segment. Above level 0, label, segment and track id are those of
            the segment at the point.
        mask: bool [H, W], its pixels.
        level: how many levels up it is, 0 for the segment itself; less than asked for where there is nothing larger.
        place: where it is in space; None where that is not known.
    """

    segments: Segments
    mask: np.ndarray = field(repr=False)
    level: int
    place: SegmentGeometry | None = None

    @property
    def segment(self) -> Segment:
        """The only row of `segments`."""
        return self.segments[0]


def clicked(result: Result, x: int, y: int, level: int = 0) -> Clicked:
    """Return the segment at a point, or what it is part of in the hierarchy.

    A level up is the nearest node of the hierarchy above whose pixels are more. These are the pixels of all segments
    under it; with `instances` connected those that are connected with the point, with space those that are on a surface
    with it, too. So it holds the level below.

    Args:
        result: of the image.
        x, y: column and row of a pixel.
        level: 0: the segment; 1: one level up, ...

    Raises:
        ValueError: for a point outside the image, and for one that is in no segment.
    """
    labels, segments = result.segmentation.labels, result.segmentation.segments
    height, width = labels.shape
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f'expected a point in the image of {width} x {height}, received ({x}, {y})')
    label = int(labels[y, x])
    if not label:
        raise ValueError(f'there is no segment at ({x}, {y}): smaller ones are left out (min_segment_area)')
    found = Clicked(segments[[label - 1]], labels == label, 0, result.geometries[label - 1])
    reached, cells, mask = 0, None, found.mask
    for larger, under in _larger(result.cut, mask, x, y, result.scene.depth_m) if level > 0 else ():
        reached, cells, mask = reached + 1, under, larger
        if reached == level:
            break
    if cells is None:
        return found
    return _described(result, replace(found, mask=mask, level=reached), cells)


def _larger(
    cut: Cut, mask: np.ndarray, x: int, y: int, depth_m: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what a segment is part of, the smallest first: pixels, bool [H, W], and cells, bool [h * w]."""
    part, of_cells = cut.parts[y, x], cut.cells
    tree, own = cut.tree, cut.segment[part]
    at = np.flatnonzero(of_cells[tree.order] == own)[0]
    above = np.flatnonzero((tree.start <= at) & (at < tree.stop) & (tree.size > np.count_nonzero(of_cells == own)))
    touching: tuple[np.ndarray, np.ndarray] | None = None
    area, below = np.count_nonzero(mask), np.zeros(len(cut.segment), bool)
    for node in above[np.argsort(tree.size[above])]:
        cells = np.zeros(len(of_cells), bool)
        cells[tree.order[tree.start[node] : tree.stop[node]]] = True
        under = np.isin(cut.segment, np.unique(of_cells[cells]))
        if cut.config.instances != 'segments':
            if touching is None:
                runs = Runs.of(cut.parts)
                touching, _ = distinct((runs.label[runs.touching[0]], runs.label[runs.touching[1]]), len(cut.segment))
            under = _connected(under, touching, part)
            if cut.config.instances == 'space' and depth_m is not None:
                # A surface that goes on may be another one seen with more around it: what is below stays.
                under = below | _connected(_on_surface(under, cut, part, depth_m), touching, part)
        pixels = under[cut.parts]
        if np.count_nonzero(pixels) > area:
            area, below = np.count_nonzero(pixels), under
            yield pixels, cells


def _connected(under: np.ndarray, touching: tuple[np.ndarray, np.ndarray], part: int) -> np.ndarray:
    """Return which of some parts, bool [P], are connected with one of them."""
    component = components(len(under), chosen(touching, under[touching[0]] & under[touching[1]]))
    return component == component[part]


def _on_surface(under: np.ndarray, cut: Cut, part: int, depth_m: np.ndarray) -> np.ndarray:
    """Return which of some parts, bool [P], are for the most part where depth goes on from one of them."""
    surface, _ = parts_in_space(under[cut.parts].astype(np.uint8), depth_m, cut.config.depth_jump)
    own = np.bincount(surface[cut.parts == part]).argmax()
    on_it = np.bincount(cut.parts[surface == own], minlength=len(under))
    mostly = under & (2 * on_it > np.bincount(cut.parts.ravel(), minlength=len(under)))
    mostly[part] = True
    return mostly


def _described(result: Result, found: Clicked, cells: np.ndarray) -> Clicked:
    """Return what was found described by its mask and, with instances segments, by its cells, bool [h * w]."""
    # As label 0, which there always is.
    labels = (~found.mask).astype(np.uint8)
    feature_map, cut = result.frame.feature_map, result.cut
    if cut.config.instances == 'segments':
        concepts = concept_features(feature_map, (~cells).astype(np.int64)).cpu().numpy()
    elif result.carried_ns is None:
        runs = Runs.of(labels)
        concepts = part_features(runs, runs.label, feature_map).cpu().numpy()
    else:  # the features are of where its parts were
        area = np.bincount(cut.parts[found.mask], minlength=len(cut.concepts))
        concepts = (area @ cut.concepts / area.sum()).astype(np.float32)[None].repeat(2, 0)
    described = describe_segments(labels, concepts, 0, result.segmentation.tau).segments[[0]]
    at = found.segments
    segments = replace(described, label=at.label, segment=at.segment, track_id=at.track_id)
    (place,) = result.locate(found.mask.astype(np.uint8), 1)
    return replace(found, segments=segments, place=place)
