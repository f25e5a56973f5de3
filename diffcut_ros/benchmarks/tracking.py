"""`diffcut_benchmark tracking`: do segments keep their identity while the camera moves?

The true motion says where each pixel of a frame is in the next one, and a second later: from depth and pose of RGB-D
frames, or exactly for a virtual camera over photographs. A pixel keeps its identity if it has the same one in both
frames, so that borders that move and segments that fall apart count against a method, whoever is to blame. The best
possible row says how much is left to gain: each pair of frames with the one-to-one assignment of their segments that
keeps the most pixels, chosen with the true motion. All methods get the same segmentations.

With `--network-hz`: what the node shows with the parameter network_hz, beside all images computed. A simulated network
gets the newest image when it is done with the one before and the rate allows it, and has its result after `--latency`.

With --world: do things get their identity back when the camera comes back to them? Track ids by places in the world,
by poses of the frames, and without; and *objects*, those of the map of all frames that segments show. *Kept*: share of
the pixels that the frame before shows, too, and that have the identity they had there; *later*: of those that were seen
1 s before, or before the pause; *again*, *1 s*, *3 s*: of those out of sight for a frame, 1 s or 3 s at least; *99 %*:
how many identities hold that share of the pixels; *wrong*: share of the *comebacks* of an identity in which it is given
to something at another place. All frames in their order; then every other one forth and, after a pause, the others
back.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from diffcut_ros.arguments.parser import given
from diffcut_ros.benchmarks import carrying, tracking_world
from diffcut_ros.benchmarks.carrying import Shown
from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.benchmarks.rgbd import frame_paths, load_camera, load_depth, load_image
from diffcut_ros.core import PinholeCamera, Pipeline, Scene, Segmentation, Segmenter, SegmenterConfig, Tracker
from diffcut_ros.evaluation.measure import machine
from diffcut_ros.evaluation.metrics import contingency_table
from diffcut_ros.features import create_extractor
from diffcut_ros.features.registry import resolve_device
from diffcut_ros.media.virtual_camera import PHOTOGRAPHS, load_photograph, render_view, view_matrix
from diffcut_ros.progress import track

# What the demo's camera sends, and for how long: both its motions come back to where they began.
_VIEW_HW, _VIEW_HZ, _VIEW_S = (480, 640), 15.0, 10.0
# Every second row and column of pixels: plenty, at a quarter of the time.
_STEP = 2
# Depths around a pixel, and those of one point in two frames, may differ by so much of the depth; beyond, the pixel is
# at an edge, where depth and colour are offset by a few pixels and noisy, or it is hidden.
_DEPTH_TOLERANCE, _EDGE_PX = 0.05, 4
# A segment of which fewer points are seen again cannot be said to switch.
_FEWEST_POINTS = 20
# Intersection over union from which the baseline takes two segments for the same.
_IOU = 0.3
TRACKER, BASELINE, NONE, BEST = 'tracker', 'IoU matching', 'no tracking', 'best possible'
COMPUTED, CARRIED, UNMOVED = 'all computed', 'carried', 'not moved'

# Flat pixel indices of the same points in two frames, int64 [M] each.
Correspondence = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Sequence:
    """Frames of a moving camera whose motion is known.

    Attributes:
        name: as it is printed.
        hz: frames per second.
        count: number of frames.
        image: from a frame's index to uint8 [H, W, 3] RGB.
        correspondence: from two frames' indices to where the points are that both see.
        depth: from a frame's index to depth, float32 [H, W] in metres with NaN, and pose, float64 [4, 4], camera to
            world; None: not known.
        camera: of the frames with depth.
    """

    name: str
    hz: float
    count: int
    image: Callable[[int], np.ndarray]
    correspondence: Callable[[int, int], Correspondence]
    depth: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None
    camera: PinholeCamera | None = None


@dataclass
class Record:
    """What one method made of a sequence: for each frame the identity of each pixel, int [H * W], 0 = none; seconds."""

    ids: list[np.ndarray] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Score:
    """What one method is worth on a sequence; NaN for what does not apply.

    Attributes:
        kept: share of the pixels seen in the next frame too that keep their identity there, mean over the frames.
        kept_1s: the same, a second later.
        switches: how often a segment's pixels mostly get another identity in the next frame, per segment and second.
        track_s: median over the identities of the time from their first to their last frame, that frame included.
        identities: number of them.
        median_ms, p95_ms: time of the method per frame.
    """

    kept: float
    kept_1s: float
    switches: float
    track_s: float = np.nan
    identities: float = np.nan
    median_ms: float = np.nan
    p95_ms: float = np.nan


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its table.

    Raises:
        ValueError: for fewer than two frames, or a folder without frames.
    """
    if args.world:
        return tracking_world.run(args)
    if args.frames is None:
        sequences = [view_sequence(name, args.every) for name in PHOTOGRAPHS]
    else:
        sequences = [rgbd_sequence(args.frames, args.hz, args.every)]
    device = resolve_device(args.device)
    extractor = create_extractor(args.backend, device=device)
    config = SegmenterConfig(**given(args, 'tau', 'damping', 'refine', 'instances'))
    console = Figures()
    console.print(machine(device))
    if args.network_hz is not None:
        for sequence in sequences:
            _compare(sequence, Pipeline(extractor, config), Pipeline(extractor, config), args, console)
        return
    cut = f'tau {config.tau:g}, damping {config.damping:g}, instances {config.instances}, refine {config.refine}'
    table = Table(title=f'tracking: backend {args.backend}, {cut}')
    console.begin(lambda: table)
    for column in ('frames', 'method', 'kept', 'after 1 s', 'switches', 'track', 'identities', 'time (p95)'):
        table.add_column(column)
    scores, lines = [], []
    for sequence in sequences:
        count = min(sequence.count, args.limit or sequence.count)
        if count < 2:
            raise ValueError(f'{sequence.name}: expected at least 2 frames, received {count}')
        segmenter = Segmenter(extractor, config)
        images = (sequence.image(i) for i in range(count))
        segmentations = [segmenter.segment(image) for image in track(images, count, f'{sequence.name}: segments')]
        records = follow(segmentations, sequence.hz)
        labels = [segmentation.labels.ravel() for segmentation in segmentations]
        pairs = track(range(count - 1), count - 1, f'{sequence.name}: motion')
        found, seen = measure(records, labels, sequence, pairs)
        scores.append(found)
        segments = np.median([len(segmentation.segments) for segmentation in segmentations])
        lines.append(
            f'{sequence.name}: {count} frames at {sequence.hz:g} Hz, {segments:g} segments, '
            f'{seen:.0%} of the pixels seen in the next frame too'
        )
        _add_rows(table, sequence.name, found)
    if len(scores) > 1:
        mean = {
            method: Score(*np.mean([list(vars(found[method]).values()) for found in scores], 0)) for method in scores[0]
        }
        _add_rows(table, 'mean of all', mean)
    for line in lines:
        console.print(line)
    console.finish()


def _compare(
    sequence: Sequence, plain: Pipeline, between: Pipeline, args: argparse.Namespace, console: Figures
) -> None:
    """Print what comes out with images between those that are computed, beside all of them computed."""
    cv2.setNumThreads(1)
    count, hz = min(sequence.count, args.limit or sequence.count), sequence.hz
    scenes = _Scenes(sequence, count)
    shown = {
        COMPUTED: list(track(carrying.computed(plain, scenes), count, f'{sequence.name}: {COMPUTED}')),
        CARRIED: list(
            track(
                carrying.carried(between, scenes, args.network_hz, args.latency), count, f'{sequence.name}: {CARRIED}'
            )
        ),
    }
    ages_s = np.array([one.age_s for one in shown[CARRIED]])
    if count - (first := int(np.isnan(ages_s).sum())) < 2:
        raise ValueError(
            f'{sequence.name}: expected at least 2 frames after the first result, received {count - first}'
        )
    key = [round(i - age_s * hz) for i, age_s in enumerate(ages_s) if i >= first]
    labels = {name: [one.labels for one in found[first:]] for name, found in shown.items()}
    labels[UNMOVED] = [shown[COMPUTED][i].labels for i in key]
    seen = replace(
        sequence, count=count - first, correspondence=lambda i, j: sequence.correspondence(i + first, j + first)
    )
    title = f'{sequence.name}: network {args.network_hz:g} Hz, its results there after {args.latency:g} s (simulated)'
    table = Table(title=title)
    columns = 'kept', 'after 1 s', 'switches', 'track', 'identities', 'processor (p95)'
    for column in ('images', *columns, 'covering', 'same pixels', 'step in space (p90)'):
        table.add_column(column)
    for name, found in shown.items():
        record = Record([one.ids for one in found[first:]], [one.seconds for one in found[first:]])
        pairs = track(range(seen.count - 1), seen.count - 1, f'{sequence.name}: motion')
        scores, _ = measure({name: record}, [one.ravel() for one in labels[name]], seen, pairs)
        table.add_row(name, *_cells(scores[name]), *_like(labels, name), _steps(sequence, found, first))
        table.add_row(f'  {BEST}', *_cells(scores[BEST]))
    table.add_row(UNMOVED, *[''] * len(columns), *_like(labels, UNMOVED))
    console.print(
        f'{sequence.name}: {count} frames at {hz:g} Hz; the first {first}, before the first result, do not count; '
        f'carried by {np.nanmean(ages_s):.2f} s in the mean, {np.nanmin(ages_s):.2f} to {np.nanmax(ages_s):.2f}'
    )
    console.print(table)
    console.print(
        "covering, same pixels: agreement with the segments computed of the same image; not moved: the last result's"
    )


class _Scenes:
    """The scenes of a sequence, one after the other, as often as they are asked for."""

    def __init__(self, sequence: Sequence, count: int) -> None:
        self._sequence, self._count = sequence, count

    def __iter__(self) -> Iterator[Scene]:
        for i in range(self._count):
            depth_m = None if self._sequence.depth is None else self._sequence.depth(i)[0]
            yield Scene(self._sequence.image(i), round(i * 1e9 / self._sequence.hz), depth_m, self._sequence.camera)


def _like(labels: dict[str, list[np.ndarray]], name: str) -> list[str]:
    if name == COMPUTED:
        return ['', '']
    return [f'{share:.3f}' for share in carrying.likeness(labels[COMPUTED], labels[name])]


def _steps(sequence: Sequence, shown: list[Shown], first: int) -> str:
    if sequence.depth is None:
        return ''
    steps = carrying.steps_m(shown[first:], [sequence.depth(i)[1] for i in range(first, len(shown))])
    return f'{np.median(steps):.4f} m ({np.percentile(steps, 90):.3f})' if len(steps) else ''


def follow(segmentations: list[Segmentation], hz: float) -> dict[str, Record]:
    """Run every method over the segmentations of a sequence."""
    methods = {TRACKER: _tracker(), BASELINE: _iou_matching(), NONE: lambda segmentation, _: _labels(segmentation)}
    records = {name: Record() for name in methods}
    for i, segmentation in enumerate(segmentations):
        for name, method in methods.items():
            start = time.perf_counter()
            ids = method(segmentation, round(i * 1e9 / hz))
            records[name].seconds.append(time.perf_counter() - start)
            records[name].ids.append(np.array([0, *ids], np.int32).take(segmentation.labels).ravel())
    return records


def measure(
    records: dict[str, Record], labels: list[np.ndarray], sequence: Sequence, starts: Iterable[int]
) -> tuple[dict[str, Score], float]:
    """Score every method, and the best possible assignment, on a sequence.

    Args:
        records: of the methods, for the first frames of the sequence.
        labels: the segmentations' labels, int [H * W] for each of these frames.
        sequence: which frames these are.
        starts: the first frames of the pairs to look at, each but the last.

    Returns:
        method -> score, and the share of pixels that are seen in the next frame too.
    """
    count, second = len(labels), max(1, round(sequence.hz))
    names = [*records, BEST]
    kept, later = ({name: [] for name in names} for _ in range(2))
    switched, watched = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    seen = []
    for i in starts:
        here, there = sequence.correspondence(i, i + 1)
        seen.append(len(here) * _STEP**2 / labels[i].size)
        for name, before, after in _identities(records, labels, (i, here), (i + 1, there)):
            kept[name].append(kept_share(before, after))
            switches, segments = count_switches(before, after)
            switched[name] += switches
            watched[name] += segments
        if i + second < count:
            here, there = sequence.correspondence(i, i + second)
            for name, before, after in _identities(records, labels, (i, here), (i + second, there)):
                later[name].append(kept_share(before, after))
    scores = {}
    for name in names:
        shares = _mean(kept[name]), _mean(later[name]), switched[name] * sequence.hz / max(1, watched[name])
        if name == BEST:
            scores[name] = Score(*shares)
            continue
        lengths = track_lengths(records[name].ids)
        milliseconds = 1000 * np.array(records[name].seconds)
        scores[name] = Score(
            *shares,
            track_s=float(np.median(lengths)) / sequence.hz if len(lengths) else np.nan,
            identities=len(lengths),
            median_ms=float(np.median(milliseconds)),
            p95_ms=float(np.percentile(milliseconds, 95)),
        )
    return scores, _mean(seen)


def kept_share(before: np.ndarray, after: np.ndarray) -> float:
    """Return the share of points that keep their identity, of those that have one; NaN if none has.

    Args:
        before: int [M], identities of M points in one frame, 0 = none.
        after: int [M], of the same points in another.
    """
    named = before > 0
    return float((before == after)[named].mean()) if named.any() else np.nan


def count_switches(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """Return of how many segments most points get another identity, and the number of segments; see `kept_share`."""
    names, before = np.unique(before, return_inverse=True)
    new_names, after = np.unique(after, return_inverse=True)
    table = contingency_table(before[None], after[None])[: len(names)]
    watched = (names > 0) & (table.sum(1) >= _FEWEST_POINTS)
    return int((new_names[table.argmax(1)] != names)[watched].sum()), int(watched.sum())


def best_identities(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return identities for the points of the second frame such that as many as possible keep theirs.

    Each segment gets the identity of one segment of the first frame at most, and no two get the same.

    Args:
        before: int [M], identities of M points in one frame, 0 = none.
        after: int [M], labels of the same points in another.

    Returns:
        int [M], 0 where a segment got none.
    """
    table = contingency_table(before[None], after[None])
    row, column = linear_sum_assignment(table[1:, 1:], maximize=True)
    name = np.zeros(table.shape[1], before.dtype)
    name[column + 1] = row + 1
    return name[after]


def track_lengths(ids: list[np.ndarray]) -> np.ndarray:
    """Return for each identity the number of frames from its first to its last one, int64 in the order of identities.

    Args:
        ids: int [H * W] for each frame, 0 = none.
    """
    seen = [np.flatnonzero(np.bincount(frame)) for frame in ids]
    frame = np.repeat(np.arange(len(ids)), [len(names) for names in seen])
    names = np.concatenate(seen)
    first, last = np.full(names.max(initial=0) + 1, len(ids)), np.full(names.max(initial=0) + 1, -1)
    np.minimum.at(first, names, frame)
    np.maximum.at(last, names, frame)
    return (last - first + 1)[1:][last[1:] >= 0]


def view_sequence(name: str, every: int) -> Sequence:
    """Return the frames of the virtual camera over one of the photographs."""
    photo = load_photograph(name)
    hz = _VIEW_HZ / every

    def matrix(i: int) -> np.ndarray:
        return view_matrix(i / hz, photo.shape[:2], _VIEW_HW)

    return Sequence(
        name=name,
        hz=hz,
        count=int(_VIEW_S * hz),
        image=lambda i: render_view(photo, matrix(i), _VIEW_HW),
        correspondence=lambda i, j: view_correspondence(matrix(i), matrix(j), _VIEW_HW),
    )


def view_correspondence(before: np.ndarray, after: np.ndarray, size_hw: tuple[int, int]) -> Correspondence:
    """Return where two views of a photograph show the same points, every `_STEP`-th row and column of the first view.

    Args:
        before: float64 [2, 3], see `view_matrix`.
        after: likewise.
        size_hw: height and width of both, px.
    """
    y, x = (values.ravel() for values in np.mgrid[: size_hw[0] : _STEP, : size_hw[1] : _STEP])
    photo_xy = before[:, :2] @ np.stack([x, y]) + before[:, 2:]
    return _inside(x, y, np.linalg.solve(after[:, :2], photo_xy - after[:, 2:]), size_hw)


def rgbd_sequence(root: Path, hz: float, every: int) -> Sequence:
    """Return the RGB-D frames of a folder; see the command's help for what it has to hold.

    Raises:
        ValueError: when a file is missing.
    """
    colors = frame_paths(root)[::every]
    camera = load_camera(root, load_image(colors[0]).shape[:2])
    intrinsics = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])

    def load(i: int) -> tuple[np.ndarray, np.ndarray]:
        depth_m, pose = load_depth(colors[i], camera.size_hw)
        return np.nan_to_num(depth_m), pose

    return Sequence(
        name=root.name,
        hz=hz / every,
        count=len(colors),
        image=lambda i: load_image(colors[i], camera.size_hw),
        correspondence=lambda i, j: depth_correspondence(*load(i), *load(j), intrinsics),
        depth=lambda i: load_depth(colors[i], camera.size_hw),
        camera=camera,
    )


def depth_correspondence(
    depth: np.ndarray, pose: np.ndarray, depth_after: np.ndarray, pose_after: np.ndarray, intrinsics: np.ndarray
) -> Correspondence:
    """Return where two RGB-D frames show the same points, every `_STEP`-th row and column of the first frame.

    Points near an edge of depth in either frame are left out, as there depth and colour, which are offset by a few
    pixels, show different things; so are points that are hidden in the second frame, where it has another depth. Away
    from edges the offset does no harm: it is the same in both frames, and neighbours move alike.

    Args:
        depth: float32 [H, W], metres, 0 = no reading.
        pose: float64 [4, 4], camera to world.
        depth_after: of the second frame, of the same size.
        pose_after: likewise.
        intrinsics: float64 [3, 3].
    """
    y, x = np.nonzero(_smooth(depth))
    kept = (y % _STEP == 0) & (x % _STEP == 0)
    y, x = y[kept], x[kept]
    rays = np.linalg.solve(intrinsics, np.stack([x, y, np.ones_like(x)]))
    points = np.concatenate([rays * depth[y, x], np.ones((1, len(x)))])
    points = (np.linalg.solve(pose_after, pose) @ points)[:3]
    front = points[2] > 0
    projected = intrinsics @ points[:, front]
    x, y, distance = x[front], y[front], points[2, front]
    xy = projected[:2] / projected[2]
    smooth = np.where(_smooth(depth_after), depth_after, -np.inf).ravel()
    here, there = _inside(x, y, xy, depth.shape)
    # Which of the points are still there: their place in the first frame is theirs alone.
    distance = distance[np.isin(y * depth.shape[1] + x, here)]
    same = np.abs(smooth[there] - distance) <= _DEPTH_TOLERANCE * distance
    return here[same], there[same]


def _smooth(depth: np.ndarray) -> np.ndarray:
    """Return which pixels have a depth and are not near an edge of it, bool [H, W]."""
    window = np.ones((2 * _EDGE_PX + 1, 2 * _EDGE_PX + 1), np.uint8)
    # A pixel without a reading, 0, is an edge to all around it.
    return (depth > 0) & (cv2.dilate(depth, window) - cv2.erode(depth, window) <= _DEPTH_TOLERANCE * depth)


def _inside(x: np.ndarray, y: np.ndarray, xy: np.ndarray, size_hw: tuple[int, int]) -> Correspondence:
    """Return flat indices of pixels and of where they went, float [2, M], for those that stay inside the image."""
    u, v = np.rint(xy).astype(np.int64)
    inside = (u >= 0) & (u < size_hw[1]) & (v >= 0) & (v < size_hw[0])
    return (y * size_hw[1] + x)[inside], (v * size_hw[1] + u)[inside]


def _tracker() -> Callable[[Segmentation, int], list[int]]:
    tracker = Tracker()
    return lambda segmentation, stamp_ns: tracker.update(segmentation, stamp_ns).segments.track_id.tolist()


def _iou_matching() -> Callable[[Segmentation, int], list[int]]:
    """Return a plain tracker: segments that overlap those of the last frame enough, assigned by their IoU."""
    last_labels, last_ids, highest = None, np.zeros(0, np.int64), 0

    def update(segmentation: Segmentation, stamp_ns: int) -> list[int]:
        nonlocal last_labels, last_ids, highest
        ids = np.zeros(len(segmentation.segments), np.int64)
        if last_labels is not None:
            table = contingency_table(last_labels, segmentation.labels)
            iou = table[1:, 1:] / (table.sum(1)[1:, None] + table.sum(0)[1:] - table[1:, 1:])
            row, column = linear_sum_assignment(iou, maximize=True)
            same = iou[row, column] >= _IOU
            ids[column[same]] = last_ids[row[same]]
        new = np.flatnonzero(ids == 0)
        ids[new] = highest + 1 + np.arange(len(new))
        last_labels, last_ids, highest = segmentation.labels, ids, highest + len(new)
        return ids.tolist()

    return update


def _labels(segmentation: Segmentation) -> list[int]:
    return segmentation.segments.label.tolist()


def _identities(
    records: dict[str, Record],
    labels: list[np.ndarray],
    first: tuple[int, np.ndarray],
    second: tuple[int, np.ndarray],
) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
    """Yield each method and the identities of the same points in two frames, given as index and flat indices."""
    (i, here), (j, there) = first, second
    for name, record in records.items():
        yield name, record.ids[i][here], record.ids[j][there]
    before = labels[i][here].astype(np.int64)
    yield BEST, before, best_identities(before, labels[j][there])


def _mean(values: list[float]) -> float:
    values = [value for value in values if np.isfinite(value)]
    return float(np.mean(values)) if values else np.nan


def _add_rows(table: Table, title: str, scores: dict[str, Score]) -> None:
    table.add_section()
    for name, score in scores.items():
        table.add_row(title, name, *_cells(score))
        title = ''


def _cells(score: Score) -> list[str]:
    return [
        f'{score.kept:.3f}',
        _number(score.kept_1s, '{:.3f}'),
        f'{score.switches:.2f}',
        _number(score.track_s, '{:.2f} s'),
        _number(score.identities, '{:.0f}'),
        _number(score.median_ms, f'{{:.1f}} ms ({score.p95_ms:.1f})'),
    ]


def _number(value: float, text: str) -> str:
    return text.format(value) if np.isfinite(value) else ''
