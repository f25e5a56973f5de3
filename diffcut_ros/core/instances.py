"""Instances: what of a segment is one thing, connected in the image and, with depth, in space.

Segments of DiffCut are regions of one kind, in any number of parts. Maps and planners want things: in one piece, with a
box that they fill.
"""

import numpy as np
import torch
import torch.nn.functional as F

from diffcut_ros.core.assignment import mean_features
from diffcut_ros.core.geometry import middles
from diffcut_ros.core.part_graph import absorb, chosen, components, distinct, of_first
from diffcut_ros.core.runs import Runs
from diffcut_ros.core.types import FeatureMap

INSTANCES = ('segments', 'connected', 'space')


def connected_parts(
    labels: np.ndarray, feature_map: FeatureMap, min_area: float, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Divide an image into the connected parts of its labels; pixels that touch with a side are connected.

    A part that is too small goes to the neighbour that it fits best, by the cosine similarity of their mean features;
    one between parts that are too small, to where one of these goes. Where all are, they go to the largest.

    Args:
        labels: integers [H, W], at least 0.
        feature_map: of the image.
        min_area: smaller parts are too small, px.
        most: so are those beyond this many, at least 1; the largest are left.

    Returns:
        The part of each pixel, int32 [H, W], 0..P-1, in the order of their labels, then of their first pixels, row by
        row; and the label of each part, int64 [P].
    """
    runs = Runs.of(labels)
    pairs = runs.touching
    part = components(len(runs.label), chosen(pairs, runs.label[pairs[0]] == runs.label[pairs[1]]))
    label = of_first(part, runs.label)
    area = np.bincount(part, runs.length)
    small = area < min_area
    small[np.argsort(-area, kind='stable')[most:]] = True
    if small.any():
        pairs, _ = distinct((part[pairs[0]], part[pairs[1]]), len(area))
        feature = F.normalize(part_features(runs, part, feature_map), dim=1).cpu().numpy()
        small[area.argmax()] = False
        label = label[absorb(small, pairs, np.einsum('ec,ec->e', feature[pairs[0]], feature[pairs[1]]))]
        # What a small part joins may be connected by it.
        joined = components(len(area), chosen(pairs, label[pairs[0]] == label[pairs[1]]))
        part, label = joined[part], of_first(joined, label)
    order = np.argsort(label, kind='stable')
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order))
    return runs.painted(place[part]), label[order]


def part_features(runs: Runs, part: np.ndarray, feature_map: FeatureMap) -> torch.Tensor:
    """Return the mean of the L2-normalised features of the cells whose middle is in each part.

    A part without one has the feature of the cell that the middle of its first longest run is in.

    Args:
        runs: of an image.
        part: [R], which part 0..P-1 each run belongs to; each at least once.
        feature_map: of the image, features [h, w, C].

    Returns:
        float32 [P, C], on the features' device.
    """
    (height, width), (h, w) = runs.size_hw, feature_map.grid_hw
    at = middles(height, h)[:, None] * width + middles(width, w)
    of_cell = part[np.searchsorted(runs.begin, at.ravel(), side='right') - 1]
    cell = np.arange(h * w)
    without = np.ones(int(part.max()) + 1, bool)
    without[of_cell] = False
    if without.any():
        run = np.flatnonzero(without[part])
        run = run[np.lexsort((-runs.length[run], part[run]))]
        run = run[np.unique(part[run], return_index=True)[1]]
        y, x = np.divmod(runs.begin[run] + runs.length[run] // 2, width)
        of_cell, cell = np.append(of_cell, part[run]), np.append(cell, y * h // height * w + x * w // width)
    return mean_features(feature_map, of_cell, cell)
