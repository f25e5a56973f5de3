"""What the node shows between two network frames, simulated: when a result is there is given, not measured."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from diffcut_ros.core import Pipeline, Result, Scene
from diffcut_ros.evaluation.metrics import contingency_table, covering
from diffcut_ros.stream.rate import RateLimit


@dataclass(frozen=True)
class Shown:
    """What came out of one image.

    Attributes:
        labels: integers [H, W]; all 0 where nothing came out.
        ids: int64 [H * W], the track id of each pixel, 0 = none.
        places: track id -> where it is in the camera's frame, float64 [3] in metres; of those with depth.
        age_s: how much older the image is that was computed.
        seconds: what it took of the processor, without what the network's thread does.
    """

    labels: np.ndarray
    ids: np.ndarray
    places: dict[int, np.ndarray]
    age_s: float
    seconds: float


def computed(pipeline: Pipeline, scenes: Iterable[Scene]) -> Iterator[Shown]:
    """Yield what comes out where every image is computed, at once."""
    for scene in scenes:
        yield _timed(lambda scene=scene: pipeline.process(scene), scene)


def carried(pipeline: Pipeline, scenes: Iterable[Scene], network_hz: float, latency_s: float) -> Iterator[Shown]:
    """Yield what comes out with `network_hz`, where the network's results are there after a time.

    As in the node: the newest image is begun when the one before is done and the rate allows it.
    """
    limit, prepared, due_ns = RateLimit(network_hz), None, 0
    for scene in scenes:
        if prepared is not None and scene.stamp_ns >= due_ns:
            pipeline.arrive(prepared)
            prepared = None
        yield _timed(lambda scene=scene: pipeline.carry(scene), scene)
        if prepared is None and limit.ready(scene.stamp_ns):
            limit.passed(scene.stamp_ns)
            begun = pipeline.begin()
            if begun is not None:
                prepared, due_ns = pipeline.prepare(begun), scene.stamp_ns + round(latency_s * 1e9)


def likeness(truth: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return how well label images agree with others: covering, and share of pixels with segments paired one to one."""
    tables = [contingency_table(*pair) for pair in zip(truth, labels, strict=True)]
    paired = [table[linear_sum_assignment(table, maximize=True)].sum() / table.sum() for table in tables]
    return float(np.mean([covering(table) for table in tables])), float(np.mean(paired))


def steps_m(shown: Sequence[Shown], poses: Sequence[np.ndarray]) -> np.ndarray:
    """Return how far tracks move in the world from image to image, in metres; poses [4, 4] are from camera to world."""
    world = [
        {key: pose[:3, :3] @ place + pose[:3, 3] for key, place in one.places.items()}
        for one, pose in zip(shown, poses, strict=True)
    ]
    return np.array(
        [np.linalg.norm(after[key] - before[key]) for before, after in pairwise(world) for key in before.keys() & after]
    )


def _timed(segment: Callable[[], Result | None], scene: Scene) -> Shown:
    start_s = time.process_time()
    result = segment()
    seconds = time.process_time() - start_s
    if result is None:
        none = np.zeros(scene.image_rgb.shape[:2], np.uint8)
        return Shown(none, none.ravel().astype(np.int64), {}, np.nan, seconds)
    ids = result.segmentation.segments.track_id
    places = {
        int(key): place.position_m for key, place in zip(ids, result.geometries, strict=True) if place is not None
    }
    return Shown(
        result.segmentation.labels,
        np.append(0, ids).take(result.segmentation.labels).ravel(),
        places,
        (result.carried_ns or 0) / 1e9,
        seconds,
    )
