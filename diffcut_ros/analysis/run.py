"""Analyses one recording: the pipeline in the middle, reading ahead of it and writing behind it."""

import dataclasses
import functools
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffcut_ros.analysis.causes import Cause, Causes
from diffcut_ros.analysis.frame_result import Analyzer, FrameResult
from diffcut_ros.analysis.frames import TF_MESSAGE, TF_STATIC, RecordedFrames, in_gaps, transform_topics
from diffcut_ros.analysis.lock import locked
from diffcut_ros.analysis.manifest import check_same, describe
from diffcut_ros.analysis.messages import Output, objects_message, outputs, serialize
from diffcut_ros.analysis.objects import BestViews, about_map, note, object_outputs, objects_of_rows, write_sightings
from diffcut_ros.analysis.parts import AnalysisFolder, OutputTopic, Part, check_folder, readable, sweep_again
from diffcut_ros.analysis.reading import Moment, Moments
from diffcut_ros.analysis.report.gallery import Slots, read_frames, shown_frame, write_frame
from diffcut_ros.analysis.report.page import REPORT, check_report, write_report
from diffcut_ros.analysis.settings import (
    AnalysisOptions,
    OutputOptions,
    Settings,
    left_out_parameters,
    read_named,
    read_settings,
)
from diffcut_ros.analysis.tables import check_parquet, frame_row, hierarchy_row, segment_rows
from diffcut_ros.analysis.threads import ReadAhead, WriteBehind, one_ahead
from diffcut_ros.analysis.topics import Topics, find_topics, why_not_depth
from diffcut_ros.classes_file import ClassesFile
from diffcut_ros.core import Scene
from diffcut_ros.core.classes import Classes
from diffcut_ros.core.objects import Sightings, object_map
from diffcut_ros.core.pipeline import Prepared
from diffcut_ros.core.plain import pack, unpack
from diffcut_ros.core.upright import Upright
from diffcut_ros.exit_status import Status
from diffcut_ros.media.overlay import class_colors, draw_overlay, track_colors, track_names, write_names
from diffcut_ros.media.video import LONGEST_SIDE_PX, Playback, check_video
from diffcut_ros.printable import LONGEST_NAME, counted, printable, quoted
from diffcut_ros.recordings.bag import Bag, BagError, open_bag
from diffcut_ros.stream.messages import LABEL_INFO

# What a state may take unpacked, beside 2 bytes for each pixel: features of 1500 tracks, say.
_STATE_BYTES = 2**28
# Of messages without an image that are held while the image before them is finished, at most; and of each beside its
# data.
_MOST_HELD_BYTES, _MOMENT_BYTES = 2**27, 2**10
# A moment, and its image as it is prepared, what went wrong with it, or None: it has no image.
_Ready = tuple[Moment, tuple[Prepared, float] | Exception | None]
# A part of the outputs ends after so many frames, or messages where few of them give a frame: what a kill costs.
FRAMES_PER_PART, _MESSAGES_PER_PART = 32, 1000


@dataclass(frozen=True)
class Summary:
    """What an analysis gave.

    Attributes:
        frames: images segmented.
        images: of the recording, in the time that was asked for.
        problems: images and messages that had to be left out.
        causes: why, as text, the most frequent ones; empty: none had to be.
        lost: what of the recording could not be read, as text; empty: nothing.
        unjoined: images without depth or camera_info.
        warning: what may be wrong with the images, was guessed, or left out for lack of depth; empty: nothing known.
        objects: in the map of objects; None: there is no map.
        which: which images were asked for, as text; empty: all.
    """

    frames: int
    images: int
    problems: int
    causes: str
    lost: str
    unjoined: int
    warning: str
    objects: int | None = None
    which: str = ''

    @property
    def complete(self) -> bool:
        """Whether all of the input could be read, and most images had depth where that is wanted."""
        return not self.problems and not self.lost and 2 * self.unjoined <= self.images

    @property
    def status(self) -> int:
        """The exit status."""
        return 0 if self.complete else Status.INCOMPLETE

    def text(self, bag: Path, out: Path) -> str:
        """Return it in a line, as text."""
        objects = '' if self.objects is None else f'{self.objects} object{"s" * (self.objects != 1)}, '
        which = f' ({self.which})' if self.which else ''
        parts = [f'{bag}: {self.frames} of {self.images} images segmented{which}, {objects}outputs in {out}']
        if self.problems:
            table = next((path.name for path in sorted(out.glob('problems.*'))), 'the table problems')
            what = 'images or messages' if self.problems > 1 else 'image or message'
            parts.append(f'{self.problems} {what} left out: {self.causes}; all in {table}')
        if self.lost:
            parts.append(f'not all could be read: {self.lost}')
        if self.warning:
            parts.append(f'warning: {self.warning}')
        return '; '.join(parts)

    @staticmethod
    def of(run: dict[str, Any]) -> 'Summary':
        """Return the one that run.json holds.

        Raises:
            ValueError, KeyError: when it holds none.
        """
        run = {'causes': '', 'unjoined': 0, 'which': '', 'objects': None} | run  # which older ones do not have
        kinds = Summary.__annotations__
        values = {name: run[name] for name in kinds}
        for name, kind in kinds.items():
            if not isinstance(values[name], kind) or (isinstance(values[name], int) and values[name] < 0):
                raise ValueError(f'{name}: expected {getattr(kind, "__name__", kind)}, received {values[name]!r}')
        return Summary(**values)


@dataclass(frozen=True)
class Progress:
    """How far an analysis is: share of the recording's time, 0 to 1, and frames so far."""

    share: float
    frames: int


@dataclass
class _Done:
    """What has been done up to a moment; with the pipeline's state all that the next frames depend on.

    `placed` and `down` are those of `Upright`, in the target frame.
    """

    position: int = 0
    image_number: int = 0
    frames: int = 0
    problems: int = 0
    causes: Causes = field(default_factory=Causes)
    no_space: Causes = field(default_factory=Causes)
    in_gaps: int = 0
    placed: int = 0
    down: tuple[float, float, float] = (0.0, 0.0, 0.0)
    playback: Playback = field(default_factory=Playback)
    shown: Slots = field(default_factory=Slots)
    decoder: tuple[Any, ...] = ()

    @staticmethod
    def of(saved: dict[str, Any]) -> '_Done':
        """Return what `dataclasses.asdict` and `pack` made of one."""

        def causes(kept: dict[str, Any]) -> Causes:
            return Causes(**kept | {'_found': {kind: Cause(**cause) for kind, cause in kept['_found'].items()}})

        height_width = saved['playback']['size_hw']
        kept = {
            'causes': causes(saved['causes']),
            'no_space': causes(saved['no_space']),
            'playback': Playback(**saved['playback'] | {'size_hw': height_width and tuple(height_width)}),
            'shown': Slots(**saved['shown']),
            'down': tuple(saved['down']),
        }
        done = _Done(**saved | kept)
        done.check()
        return done

    def look(self, scene: Scene | None) -> None:
        """Take note of how the camera of a scene stands in the target frame."""
        into = None if scene is None or scene.look_up is None else scene.look_up()
        if into is not None:
            upright = Upright(self.placed, self.down).seen(into)
            self.placed, self.down = upright.images, upright.down

    @property
    def is_tilted(self) -> bool:
        """Whether z of the target frame does not seem to point up."""
        return Upright(self.placed, self.down).is_tilted

    def check(self) -> None:
        """Raise ValueError or TypeError unless it is possible: kept in a folder, it may be anybody's."""
        names = 'position', 'image_number', 'frames', 'problems', 'in_gaps', 'placed'
        counts = {name: getattr(self, name) for name in names}
        height, width = self.playback.size_hw or (2, 2)
        counts |= {'height of the video': height, 'width of the video': width, 'time in it': self.playback.time_ns}
        for causes in (self.causes, self.no_space):
            counts |= {'kinds of causes': causes.kinds, 'other causes': causes.others}
            counts |= {f'cause {text!r}': cause.count for text, cause in causes.found.items()}
        for name, count in counts.items():
            if not isinstance(count, int) or not 0 <= count < 2**63:
                raise ValueError(f'{name}: expected a whole number from 0, received {count!r}')
        if max(height, width) > LONGEST_SIDE_PX or min(height, width) < 2 or height % 2 or width % 2:
            raise ValueError(f'size of the video: expected even numbers, received {width} x {height}')
        for causes, problems in ((self.causes, self.problems), (self.no_space, self.frames + self.problems)):
            total = sum(cause.count for cause in causes.found.values()) + causes.others
            if total > problems or (causes is self.causes and total != problems):
                raise ValueError(f'causes: expected those of {problems}, received {total}')
        if len(self.down) != 3 or not all(isinstance(one, float) and math.isfinite(one) for one in self.down):
            raise ValueError(f'down: expected three numbers, received {self.down}')
        ints = (self.playback.stamp_ns, self.shown.last, self.shown.begin_ns or 0)
        if not all(isinstance(value, int) for value in ints):
            raise ValueError(f'expected whole numbers as stamps and places, received {ints}')


@dataclass(frozen=True)
class _Record:
    """What is to be written of a moment; `state` ends the part."""

    moment: Moment
    result: FrameResult | None
    problem: str
    images_left_out: int
    playback: Playback
    state: bytes | None


def analyze(bag: Path | str, options: AnalysisOptions | None = None, **more: Any) -> Iterator[FrameResult]:
    """Segment the images of a recording, one after the other, as `diffcut_analyze` does.

    Args:
        bag: a folder with metadata.yaml, an .mcap or .db3 file, or a .bag file of ROS 1.
        options: which images, and how.
        more: fields of `AnalysisOptions` that replace those of `options`, such as tau=0.7.

    Yields:
        One result per image. Images that cannot be read or segmented are left out, with a warning.

    Raises:
        ValueError: for options or a recording that cannot be used; says what was expected and received.
    """
    options = dataclasses.replace(options or AnalysisOptions(), **more)
    if left_out := left_out_parameters(options):
        warnings.warn(left_out, stacklevel=2)
    paths = {name: Path(getattr(options, name)) for name in ('params', 'classes') if getattr(options, name) is not None}
    options = dataclasses.replace(options, **paths)
    with open_recording(Path(bag), options) as (opened, topics, settings, classes):
        frames_of = recorded_frames(opened, settings)
        moments = Moments(opened, topics, options, settings, frames=frames_of)
        analyzer = Analyzer(settings, classes=classes)
        frames = problems = gaps = 0
        with ReadAhead(moments) as ahead:
            for moment, result, problem in _results(ahead, analyzer, settings):
                problems += bool(problem)
                gaps += moment.in_gap and result is not None
                for text in filter(None, (problem, moment.no_space, *(result.notes if result else ()))):
                    warnings.warn(text, stacklevel=2)
                if result is not None:
                    frames += 1
                    yield result
        if not frames and not problems:
            raise _no_frames(opened, topics, moments)
        for text in filter(None, (moments.warning, in_gaps(gaps))):
            warnings.warn(f'{bag}: {text}', stacklevel=2)
        if opened.lost:
            warnings.warn(f'{bag}: not all could be read: {opened.lost}', stacklevel=2)


def analyze_to_folder(
    bag: Path,
    out: Path,
    options: AnalysisOptions,
    output: OutputOptions,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_start: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Analyse a recording and leave segments.mcap, tables, report.html, overlay.mp4 and run.json in a folder.

    Args:
        bag: the recording, as for `analyze`.
        out: the folder; outputs appear in it once all are complete.
        options: which images, and how.
        output: what is written.
        resume: go on with an analysis that was interrupted; one that is complete is left as it is, but for the sweep.
        overwrite: remove the outputs of an earlier analysis first.
        on_progress: called now and then.
        on_start: called with what is read, as text, once that is known to be right; not where all is complete.

    Raises:
        ValueError: for options or a recording that cannot be used; says what was expected and received.
        OSError: when outputs cannot be written; the analysis can be resumed.
        RuntimeError: when too many images in a row fail in the pipeline.
    """
    ending = '.csv' if output.csv else '.parquet'
    if not output.csv:
        check_parquet()
    if output.report:
        check_report()
    if output.video:
        try:
            check_video()
        except ValueError as error:
            raise ValueError(f'{error}, or take --no-video') from error
    with open_recording(bag, options) as (opened, topics, settings, classes), locked(out):
        by_class = output.by_class(classes)
        output.check(settings)
        deepest_tau = max(output.hierarchy_tau, *output.sweep, 0.0)
        make_analyzer = functools.cache(lambda: Analyzer(settings, deepest_tau, classes, output.objects))
        if overwrite:
            make_analyzer()  # what cannot run removes nothing
        complete = check_folder(out, resume, overwrite)
        if complete is not None:
            check_same(complete, out, bag, options, settings, output, classes)
            with readable(out):
                summary = Summary.of(complete)
            if output.sweep and list(output.sweep) != complete['output']['sweep']:
                sweep_again(out, ending, complete, output.sweep)
            return summary
        made = outputs(output.raw_labels, topics.depth is not None, classes is not None)
        copied: tuple[str, ...] = ()
        written = [OutputTopic(one.topic, one.type_name, one.type_name == LABEL_INFO) for one in made]
        if output.with_source:
            copied = transform_topics(opened)
            written += [OutputTopic(name, opened.topics[name].type_name) for name in topics.names()]
            written += [OutputTopic(name, TF_MESSAGE, name == TF_STATIC) for name in copied]
        frames_of, analyzer, done = recorded_frames(opened, settings), make_analyzer(), _Done()
        folder = AnalysisFolder(out, written, ending, settings.node.target_frame)
        about = describe(bag, topics, options, settings, output, classes)
        saved = folder.begin(about)
        if saved is not None:
            with readable(out):
                state = unpack(saved, _STATE_BYTES + 2 * round(settings.node.max_image_megapixels * 1e6))
                done = _Done.of(state['done'])
                analyzer.load(state['pipeline'])
                folder.check_parts(done.frames, done.problems, output.video)
                if output.objects:
                    folder.sightings(settings.tracker.max_voxels)  # whether they can be read
                reached = done.position, done.decoder, done.frames + done.problems
                moments = Moments(opened, topics, options, settings, *reached, frames=frames_of, copied=copied)
        else:
            moments = Moments(opened, topics, options, settings, frames=frames_of, copied=copied)

        on_start(_what_is_read(opened, topics, done))

        def shown(moment: Moment) -> bool:
            return output.report and done.shown.take(moment.time_ns, opened.end_ns, options.duration_s)

        with _Writing(folder, made, settings, output, by_class) as write:
            with WriteBehind(write) as behind, ReadAhead(_told(moments, out)) as ahead:
                for record in _records(ahead, analyzer, settings, done, shown):
                    behind.put(record)
                    on_progress(Progress(_share(opened, record.moment), done.frames))
            write.close(_state(done, analyzer))
        if not done.frames and not done.problems:
            folder.discard()
            raise _no_frames(opened, topics, moments)
        told = [moments.warning, done.no_space.told(), in_gaps(done.in_gaps), _no_examples(settings, classes)]
        more: dict[str, Callable[[Path, Sequence[Path]], None]] = {}
        about_the_map, found, views = {}, None, None
        if output.objects:
            # What was there already may be of others.
            with nullcontext() if saved is None else readable(out, but=(OSError, MemoryError)):
                seen = folder.sightings(settings.tracker.max_voxels)
                names = Classes() if classes is None else classes.classes
                found = object_map(seen, settings.tracker.voxel_m).named(names, settings.node.min_confidence)
                views = folder.shown(found)
                more |= object_outputs(found, views, settings, classes, ending)
            told.append(note(seen, settings, frames_of is not None and frames_of.moves_with_camera, done.is_tilted))
            about_the_map = {'map': about_map(seen, found, views)}
        summary = Summary(
            done.frames,
            moments.images,
            done.problems,
            done.causes.told(),
            printable(opened.lost),
            moments.within - moments.joined,
            printable('; '.join(filter(None, told))),
            None if found is None else len(found.objects),
            _which_images(opened, options, settings),
        )
        run = dataclasses.asdict(summary) | {'joined': moments.joined, 'model': analyzer.description}
        run |= about | about_the_map

        def report(path: Path, parts: Sequence[Path]) -> None:
            known = None if classes is None else classes.classes
            write_report(path, run, path.parent, ending, read_frames(parts), by_class, found, views, known)

        # What was there already may be of others.
        with nullcontext() if saved is None else readable(out, but=(OSError, MemoryError)):
            which = {} if found is None else {'object_id': functools.partial(objects_of_rows, found)}
            map_of = [] if found is None else [objects_message(found, settings, done.playback.stamp_ns)]
            folder.finish(run, output.sweep, more | ({REPORT: report} if output.report else {}), which, map_of)
    return summary


def _told(moments: Moments, out: Path) -> Iterator[Moment]:
    """Yield moments, once those that an earlier analysis says it has done are known to be those that it did."""
    checked = False
    for moment in moments:
        if not checked:
            with readable(out):
                moments.check_resumed()
            checked = True
        yield moment
    if not checked:
        with readable(out):
            moments.check_resumed()


@contextmanager
def open_recording(path: Path, options: AnalysisOptions) -> Iterator[tuple[Bag, Topics, Settings, ClassesFile | None]]:
    """Open a recording: with the topics that are read of it, the parameters that hold, and their file of classes.

    Raises:
        ValueError: for options or a recording that cannot be used; says what was expected and received.
    """
    settings = read_settings(options)
    classes = read_named(settings)
    with ExitStack() as stack:
        bag = stack.enter_context(open_bag(path))
        topics = find_topics(
            bag.topics,
            options.image_topic,
            options.camera_info_topic,
            options.depth_topic,
            settings.with_depth,
            settings.node.image_transport == 'compressed',
            settings.node.depth_transport,
            functools.partial(why_not_depth, bag),
        )
        in_space = settings.segmenter.instances == 'space'
        target = settings.node.target_frame
        if ((settings.node.depth and settings.with_depth) or in_space or target) and topics.depth is None:
            said, instead = 'the parameter file says depth: true', '--no-depth'
            if target:
                said, instead = f'places are wanted in {quoted(target)}', 'no target frame'
            elif in_space:
                said, instead = 'the parameter file says instances: space', 'instances: connected'
            raise BagError(
                f'{path}: expected camera_info and depth, since {said}; received none; '
                f'{topics.note + "; " if topics.note else ""}take --depth-topic and --camera-info-topic, or {instead}'
            )
        yield bag, topics, settings, classes


def recorded_frames(bag: Bag, settings: Settings) -> RecordedFrames | None:
    """Return the frames of a recording, where places are wanted in another one than the camera's.

    Raises:
        BagError: for a recording without that frame.
    """
    return RecordedFrames(bag, settings.node.target_frame) if settings.node.target_frame else None


def _results(
    moments: ReadAhead[Moment],
    analyzer: Analyzer,
    settings: Settings,
    shown: Callable[[Moment], bool] = lambda _: False,
) -> Iterator[tuple[Moment, FrameResult | None, str]]:
    """Yield each moment with its result, or what is wrong; asks of each scene whether the report shows it.

    Raises:
        RuntimeError: when more images in a row fail than the node would take (max_consecutive_failures).
    """
    failures, limit = 0, settings.node.max_consecutive_failures
    ahead = _up_to_images(_prepared(moments, analyzer))
    for moment, prepared in itertools.chain.from_iterable(one_ahead(ahead) if analyzer.overlaps else ahead):
        result, problem = None, moment.problem
        if prepared is not None:
            is_shown = shown(moment)
            try:
                if isinstance(prepared, Exception):
                    raise prepared
                result = analyzer.finish(prepared, is_shown)
                failures = 0
            except Exception as error:
                # The boundary between recording and pipeline, as in the node: an image that fails is given up.
                failures += 1
                problem = f'image not segmented: {type(error).__name__}: {error}'
                if limit and failures >= limit:
                    raise RuntimeError(f'{failures} failures in a row (max_consecutive_failures): {problem}') from error
        yield moment, result, printable(problem)


def _up_to_images(prepared: Iterator[_Ready]) -> Iterator[list[_Ready]]:
    """Yield moments in groups that end with an image: a group ahead is an image ahead."""
    group: list[_Ready] = []
    held_bytes = 0
    problem: Exception | None = None
    try:
        for moment, image in prepared:
            group.append((moment, image))
            held_bytes += _MOMENT_BYTES + (0 if moment.message is None else len(moment.message.cdr))
            if image is not None or held_bytes > _MOST_HELD_BYTES:
                yield group
                group, held_bytes = [], 0
    except Exception as error:  # what was read before comes first
        problem = error
    if group:
        yield group
    if problem is not None:
        raise problem


def _prepared(moments: ReadAhead[Moment], analyzer: Analyzer) -> Iterator[_Ready]:
    """Yield each moment with its image as it is prepared."""
    for moment in moments:
        prepared: tuple[Prepared, float] | Exception | None = None
        if moment.scene is not None:
            try:
                prepared = analyzer.prepare(moment.scene)
            except Exception as error:
                prepared = error
        yield moment, prepared


def _records(
    moments: ReadAhead[Moment],
    analyzer: Analyzer,
    settings: Settings,
    done: _Done,
    shown: Callable[[Moment], bool],
) -> Iterator[_Record]:
    """Yield what is to be written of each moment, and keep `done` up to date."""
    begun = dataclasses.replace(done)
    for moment, result, problem in _results(moments, analyzer, settings, shown):
        left_out = 0
        done.position = moment.position
        if problem:
            done.problems += 1
            done.causes.add(problem, moment.stamp_ns)
        if moment.no_space:
            done.no_space.add(moment.no_space, moment.stamp_ns)
        done.decoder = moment.decoder or done.decoder
        if result is not None:
            done.frames += 1
            done.in_gaps += moment.in_gap
            done.look(moment.scene)
            for text in result.notes:
                done.no_space.add(text, moment.stamp_ns)
            left_out = max(0, moment.image_number - done.image_number - 1)
            done.image_number = moment.image_number
            done.playback = done.playback.then(result.image_rgb.shape[:2], result.stamp_ns)
        state = None
        if done.frames - begun.frames >= FRAMES_PER_PART or done.position - begun.position >= _MESSAGES_PER_PART:
            begun = dataclasses.replace(done)
            state = _state(done, analyzer)
        yield _Record(moment, result, problem, left_out, done.playback, state)


def _state(done: _Done, analyzer: Analyzer) -> bytes:
    return pack({'done': dataclasses.asdict(done), 'pipeline': analyzer.save()})


class _Writing:
    """Writes records into parts; a context manager that gives up the part that is open when an exception leaves it."""

    def __init__(
        self, folder: AnalysisFolder, made: list[Output], settings: Settings, output: OutputOptions, by_class: bool
    ) -> None:
        self._folder, self._made, self._settings, self._output = folder, made, settings, output
        self._by_class = by_class
        self._by_track = settings.node.labels == 'track'
        self._part: Part | None = None
        self._seen: list[tuple[Sightings, np.ndarray]] = []
        self._views = BestViews()

    def __enter__(self) -> '_Writing':
        return self

    def __exit__(self, *_: object) -> None:
        if self._part is not None:
            self._part.give_up()

    def __call__(self, record: _Record) -> None:
        if self._part is None:
            self._part = self._folder.next_part()
        moment, result = record.moment, record.result
        if self._output.with_source and moment.message is not None:
            self._part.write(moment.message.topic, moment.log_ns, moment.message.cdr)
        if record.problem:
            self._part.add_rows('problems', [(moment.stamp_ns, record.problem)])
        if result is not None:
            for output in self._made:
                self._part.write(output.topic, moment.log_ns, serialize(output, result, self._by_track))
            self._part.add_rows('frames', [frame_row(result, record.images_left_out)])
            self._part.add_rows('segments', segment_rows(result))
            self._part.add_rows('hierarchies', [hierarchy_row(result)])
            if self._output.video:
                self._part.add_picture(self._overlay(result), record.playback)
            if result.sightings is not None:
                self._seen.append((result.sightings, result.segmentation.segments.track_id))
                self._views.add(result)
            if result.finest_cut is not None:
                write_frame(self._part.folder, moment.position, shown_frame(result))
        if record.state is not None:
            self.close(record.state)

    def _overlay(self, result: FrameResult) -> np.ndarray:
        segmentation, named = result.segmentation, result.named if self._by_class else None
        colors = track_colors(segmentation.segments) if named is None else class_colors(named.classes, named.class_id)
        overlay = draw_overlay(result.image_rgb, segmentation.labels, colors, self._settings.node.overlay_opacity)
        names = track_names(segmentation.segments) if named is None else named.names
        write_names(overlay, segmentation, names)
        return overlay

    def close(self, state: bytes) -> None:
        """Complete the part that is being written, if there is one."""
        if self._part is not None:
            if self._output.objects:
                write_sightings(self._part.folder, self._seen)
                self._views.write(self._part.folder)
            self._part.finish(state)
        self._part, self._seen, self._views = None, [], BestViews()


def _share(bag: Bag, moment: Moment) -> float:
    return (moment.time_ns - bag.start_ns) / max(1, bag.end_ns - bag.start_ns)


def _no_examples(settings: Settings, classes: ClassesFile | None) -> str:
    """Say that a file of classes names nothing."""
    if classes is None or len(classes.classes):
        return ''
    return f'{settings.node.classes_file} has no examples: all segments are unknown'


def _no_frames(bag: Bag, topics: Topics, moments: Moments) -> BagError:
    if moments.unjoined:
        return BagError(f'{bag.path}: nothing to segment: {moments.unjoined}')
    lost = bag.lost and f'; not all could be read: {bag.lost}'
    long = f', in a recording of {_length_s(bag):.1f} s'
    return BagError(f'{bag.path}: no image of {topics.image} within the time and rate that are asked for{long}{lost}')


def _length_s(bag: Bag) -> float:
    return (bag.end_ns - bag.start_ns) / 1e9


def _what_is_read(bag: Bag, topics: Topics, done: _Done) -> str:
    """Say which topics of a recording are read, and how many images there are, as text."""
    image, *others = (printable(name, LONGEST_NAME) for name in topics.names())
    beside = f' with {" and ".join(others)}' if others else ''
    resumed = f'; {done.frames} are done' if done.position else ''
    count = bag.topics[topics.image].count
    return f'reading {bag.path}: {counted(count, "message")} of {image}{beside}{resumed}'


def _which_images(bag: Bag, options: AnalysisOptions, settings: Settings) -> str:
    """Say which images of a recording are asked for, as text; empty: all."""
    words, start_s, length_s = [], options.start_s, _length_s(bag)
    if start_s or options.duration_s is not None:
        end_s = length_s if options.duration_s is None else min(length_s, start_s + options.duration_s)
        words.append(f'{start_s:.1f} to {end_s:.1f} s of {length_s:.1f} s')
    if settings.node.rate_hz:
        words.append(f'at most {settings.node.rate_hz:g} per second')
    if options.every > 1:
        words.append(f'one of {options.every}')
    return ', '.join(words)
