"""`diffcut_benchmark replay`: what an analysis of a recording takes beside the pipeline: reading, decoding, writing.

In each round the pipeline alone works on images that are decoded and in memory, one after the other, then the whole
analysis runs, with all outputs: what else the machine does hits both. With two cores an analysis prepares the next
image while it finishes one, and so may take less time than the pipeline alone; processor time is that of all cores. The
other figures are those of each piece of work alone, which in an analysis runs beside the pipeline, in threads.
"""

import argparse
import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rosbags.rosbag2 import StoragePlugin, Writer

from diffcut_ros.analysis.frame_result import Analyzer, FrameResult
from diffcut_ros.analysis.messages import Output, outputs, serialize
from diffcut_ros.analysis.parts import AnalysisFolder, OutputTopic, Part, read_run
from diffcut_ros.analysis.reading import Moments
from diffcut_ros.analysis.report.gallery import shown_frame
from diffcut_ros.analysis.report.page import REPORT, write_report
from diffcut_ros.analysis.run import FRAMES_PER_PART, analyze_to_folder
from diffcut_ros.analysis.settings import AnalysisOptions, OutputOptions, Settings, read_settings
from diffcut_ros.analysis.tables import frame_row, hierarchy_row, segment_rows
from diffcut_ros.analysis.topics import find_topics
from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.core import Scene
from diffcut_ros.media.overlay import draw_overlay, track_colors
from diffcut_ros.media.video import Playback
from diffcut_ros.media.virtual_camera import PHOTOGRAPHS, load_photograph, render_view, view_matrix
from diffcut_ros.progress import track
from diffcut_ros.recordings.bag import open_bag
from diffcut_ros.recordings.message_types import STORE
from diffcut_ros.stream.messages import IMAGE

_SIZE_HW, _HZ = (480, 640), 10
_ANALYSIS = 'analysis'
# That a report shows.
_FRAMES = 12
_START_NS = 1_700_000_000_000_000_000


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its table.

    Raises:
        ValueError: for a recording or options that cannot be used, and without what outputs are written with.
    """
    options = AnalysisOptions(backend=args.backend, tau=args.tau)
    settings = read_settings(options)
    console = Figures()
    with TemporaryDirectory() as scratch:
        bag = args.bag or _record(Path(scratch) / 'photographs', args.frames)
        read_s, scenes, options = _read(bag, options, settings, args.frames)
        rounds = []
        for _ in track(range(args.rounds), args.rounds, 'rounds'):
            rounds.append(_round(bag, Path(scratch), options, settings, scenes))
        analyzer = Analyzer(settings)
        results = [analyzer.process(scene) for scene in scenes]
        written = dict(_pieces(Path(scratch), results))
        written['report'] = _report_s(Path(scratch) / _ANALYSIS, analyzer, scenes)
    segments = median(len(result.segmentation.segments) for result in results)
    height, width = scenes[0].image_rgb.shape[:2]
    console.print(
        f'{len(scenes)} images of {width}x{height}, {segments:g} segments; '
        f'{analyzer.description}; {os.cpu_count()} CPU cores, PyTorch {torch.__version__} '
        f'({torch.get_num_threads()} threads)'
    )
    _print(console, len(scenes), rounds, {'reading and decoding': read_s, **written})


@dataclasses.dataclass(frozen=True)
class _Round:
    """Seconds of a round, and of all cores: building the backend, the pipeline alone, the analysis without building."""

    start_s: float
    pipeline_s: float
    whole_s: float
    pipeline_processor_s: float
    whole_processor_s: float


def _round(bag: Path, scratch: Path, options: AnalysisOptions, settings: Settings, scenes: Sequence[Scene]) -> _Round:
    with _timed() as start:
        analyzer = Analyzer(settings)
    with _timed() as alone:
        for scene in scenes:
            analyzer.process(scene)
    with _timed() as whole:
        summary = analyze_to_folder(bag, scratch / _ANALYSIS, options, OutputOptions(), overwrite=True)
    if summary.frames != len(scenes):
        raise ValueError(f'{bag}: expected {len(scenes)} images segmented, received {summary.frames}')
    processor_s = whole.processor_s - start.processor_s
    return _Round(start.seconds, alone.seconds, whole.seconds - start.seconds, alone.processor_s, processor_s)


def _pieces(scratch: Path, results: Sequence[FrameResult]) -> Iterator[tuple[str, float]]:
    """Yield each piece of the work on outputs, and the seconds it takes alone."""
    made = outputs(raw_labels=False, with_depth=results[0].depth_share is not None)
    labels = [output for output in made if 'labels' in output.topic]
    for name, some in (
        ('labels as PNG', labels),
        ('other messages', [output for output in made if output not in labels]),
    ):
        with _timed() as clock:
            messages = _serialized(some, results)
        yield name, clock.seconds
    messages = _serialized(made, results)
    topics = [OutputTopic(output.topic, output.type_name) for output in made]

    def add_messages(part: Part, index: int) -> None:
        for output in made:
            part.write(output.topic, results[index].stamp_ns, messages[index, output.topic])

    def add_rows(part: Part, index: int) -> None:
        part.add_rows('frames', [frame_row(results[index], 0)])
        part.add_rows('segments', segment_rows(results[index]))
        part.add_rows('hierarchies', [hierarchy_row(results[index])])

    played = list(itertools.accumulate(results, _after, initial=Playback()))[1:]

    def add_picture(part: Part, index: int) -> None:
        segmentation = results[index].segmentation
        colors = track_colors(segmentation.segments)
        part.add_picture(draw_overlay(results[index].image_rgb, segmentation.labels, colors), played[index])

    for name, add in (('bag', add_messages), ('tables', add_rows), ('video', add_picture)):
        yield name, _writing_s(scratch / name, topics, len(results), add)


def _report_s(analysis: Path, analyzer: Analyzer, scenes: Sequence[Scene]) -> float:
    """Return the seconds that the report of a complete analysis takes, with the finest cuts of the frames it shows."""
    chosen = scenes[:: -(-len(scenes) // _FRAMES)]
    with _timed() as plain:
        for scene in chosen:
            analyzer.process(scene)
    with _timed() as full:
        frames = [shown_frame(analyzer.process(scene, with_finest_cut=True)) for scene in chosen]
        write_report(analysis / REPORT, read_run(analysis), analysis, '.parquet', frames)
    return max(0.0, full.seconds - plain.seconds)


def _after(playback: Playback, result: FrameResult) -> Playback:
    return playback.then(result.image_rgb.shape[:2], result.stamp_ns)


def _serialized(made: Sequence[Output], results: Sequence[FrameResult]) -> dict[tuple[int, str], bytes]:
    return {
        (index, output.topic): serialize(output, result, False)
        for index, result in enumerate(results)
        for output in made
    }


def _writing_s(path: Path, topics: Sequence[OutputTopic], count: int, add: Callable[[Part, int], None]) -> float:
    """Return the seconds of writing one kind of output of some frames in parts, and of joining these."""
    with _timed() as clock:
        folder = AnalysisFolder(path, topics, '.parquet')
        folder.begin({})
        for first in range(0, count, FRAMES_PER_PART):
            part = folder.next_part()
            for index in range(first, min(first + FRAMES_PER_PART, count)):
                add(part, index)
            part.finish(b'')
        folder.finish({}, (), {})
    return clock.seconds


def _read(
    bag: Path, options: AnalysisOptions, settings: Settings, frames: int
) -> tuple[float, list[Scene], AnalysisOptions]:
    """Return the seconds of reading and decoding images, these, and the options for an analysis of no more of them."""
    with open_bag(bag) as opened:
        topics = find_topics(opened.topics, with_depth=settings.with_depth)
        with _timed() as clock:
            moments = iter(Moments(opened, topics, options, settings))
            found = (moment.scene for moment in moments if moment.scene is not None)
            scenes = list(itertools.islice(found, frames))
        following = next(found, None)
    if not scenes:
        raise ValueError(f'{bag}: expected images, found none that are taken')
    if following is not None:
        options = dataclasses.replace(options, duration_s=(following.stamp_ns - scenes[0].stamp_ns) / 1e9)
    return clock.seconds, scenes, options


def _record(path: Path, frames: int) -> Path:
    """Write a recording of a camera that pans and zooms over one photograph after the other."""
    photographs = [load_photograph(name) for name in PHOTOGRAPHS]
    make, header = STORE.types[IMAGE], STORE.types['std_msgs/msg/Header']
    time_type = STORE.types['builtin_interfaces/msg/Time']
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = writer.add_connection('/camera/image_raw', IMAGE, typestore=STORE)
        for index in range(frames):
            photo = photographs[index * len(photographs) // frames]
            view = render_view(photo, view_matrix(index / _HZ, photo.shape[:2], _SIZE_HW), _SIZE_HW)
            stamp_ns = _START_NS + index * 10**9 // _HZ
            stamp = time_type(stamp_ns // 10**9, stamp_ns % 10**9)
            data = np.ascontiguousarray(view).reshape(-1)
            message = make(header(stamp, 'camera'), *_SIZE_HW, 'rgb8', 0, 3 * _SIZE_HW[1], data)
            writer.write(topic, stamp_ns, STORE.serialize_cdr(message, IMAGE))
    return path


def _print(console: Console, images: int, rounds: Sequence[_Round], pieces: dict[str, float]) -> None:
    pipeline_s = median(one.pipeline_s for one in rounds)
    table = Table(title=f'time per image; pipeline, analysis: median of {len(rounds)} rounds (range)')
    for column in ('', 'ms', 'of the pipeline'):
        table.add_column(column, justify='left' if not column else 'right')

    def add(name: str, seconds: Sequence[float]) -> None:
        table.add_row(name, _ms(seconds, images), f'{median(seconds) / pipeline_s:.1%}')

    add('pipeline alone', [one.pipeline_s for one in rounds])
    for name, seconds in pieces.items():
        add(name, [seconds])
    add('analysis with all outputs', [one.whole_s for one in rounds])
    add('processor time of the pipeline', [one.pipeline_processor_s for one in rounds])
    add('processor time of the analysis', [one.whole_processor_s for one in rounds])
    console.print(table)
    overheads = sorted(one.whole_s / one.pipeline_s - 1 for one in rounds)
    console.print(f'start of the backend, in neither: {median(one.start_s for one in rounds):.2f} s')
    console.print(
        f'overhead, analysis / pipeline - 1: {median(overheads):.1%} ({overheads[0]:.1%} to {overheads[-1]:.1%})'
    )


def _ms(seconds: Sequence[float], images: int) -> str:
    values = sorted(1000 * one / images for one in seconds)
    spread = f' ({values[0]:.1f} to {values[-1]:.1f})' if len(values) > 1 else ''
    return f'{median(values):.1f}{spread}'


@dataclasses.dataclass
class _Clock:
    seconds: float = 0.0
    processor_s: float = 0.0


@contextmanager
def _timed() -> Iterator[_Clock]:
    clock, start_s, processor_s = _Clock(), time.perf_counter(), time.process_time()
    yield clock
    clock.seconds, clock.processor_s = time.perf_counter() - start_s, time.process_time() - processor_s
