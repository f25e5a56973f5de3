"""The folder of an analysis: parts while it runs, and from them the outputs once all of it is there.

A part holds the outputs of a few dozen frames and what the next frames depend on. It appears under its name once it is
complete, so that a run that was killed goes on after its last part; at most that many frames are computed again. Tables
and bags cannot be written on after a kill, or need repair: hence parts, and one copy of all at the end.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer

from diffcut_ros.analysis.hierarchies import read_hierarchies
from diffcut_ros.analysis.lock import LOCK
from diffcut_ros.analysis.manifest import check_run, differences
from diffcut_ros.analysis.objects import Shown, read_sightings, shown_objects
from diffcut_ros.analysis.report.gallery import read_frames
from diffcut_ros.analysis.report.page import REPORT, replace_sweep
from diffcut_ros.analysis.sweep import sweep_rows
from diffcut_ros.analysis.tables import (
    OBJECTS,
    PICTURES,
    RECORDINGS,
    SWEEP,
    TABLES,
    Row,
    join_tables,
    merge_tables,
    read_rows,
    write_table,
)
from diffcut_ros.core.objects import ObjectMap, Sightings, total
from diffcut_ros.media.video import Playback, VideoWriter, join_videos
from diffcut_ros.plain_files import check_plain, read_plain
from diffcut_ros.printable import printable
from diffcut_ros.recordings.bag import open_bag
from diffcut_ros.recordings.message_types import STORE
from diffcut_ros.writing import writing

_UNFINISHED, _FINISHED, _MERGING = '.unfinished', '.finished', '.merging'
_MANIFEST, _STATE, _MESSAGES, _RUN = 'manifest.json', 'state.npz', 'messages', 'run.json'
_BAG, VIDEO = 'segments.mcap', 'overlay.mp4'
OBJECTS_TABLE, OBJECT_POINTS = 'objects', 'objects.ply'
_RECORDINGS = 'recordings'
_LONGEST_REASON = 500
_ENDINGS = ('.parquet', '.csv')
_OUTPUTS = (
    _RUN, _BAG, VIDEO, REPORT, OBJECT_POINTS,
    *(f'{name}{ending}' for name in (*TABLES, 'sweep', OBJECTS_TABLE) for ending in _ENDINGS),
)  # fmt: skip
# Bytes at most of run.json or a manifest, and of a state.
_MOST_ABOUT, _MOST_STATE = 2**24, 2**28
_NEVER = QosTime(0, 0)
# Who joins late gets the last one, as from the node.
_LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _NEVER,
    _NEVER,
    QosLiveliness.AUTOMATIC,
    _NEVER,
    False,
)


@dataclass(frozen=True)
class OutputTopic:
    """A topic of the bag that is written; latched: who joins late is to get the last message."""

    name: str
    type_name: str
    latched: bool = False


class _BagWriter:
    """Writes serialized messages of some topics into a new folder with an MCAP file; a context manager."""

    def __init__(self, path: Path, topics: Sequence[OutputTopic]) -> None:
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._path, self._topics = path, topics

    def __enter__(self) -> '_BagWriter':
        with writing(self._path):
            self._writer.open()
            self._connections = {
                topic.name: self._writer.add_connection(
                    topic.name,
                    topic.type_name,
                    typestore=STORE,
                    offered_qos_profiles=[_LATCHED] if topic.latched else [],
                )
                for topic in self._topics
            }
            return self

    def __exit__(self, *error: Any) -> None:
        with writing(self._path):
            self._writer.__exit__(*error)

    def abort(self) -> None:
        self._writer.abort()

    def write(self, topic: str, stamp_ns: int, cdr: bytes) -> None:
        with writing(self._path):
            self._writer.write(self._connections[topic], stamp_ns, cdr)


class Part:
    """A part that is being written: messages, rows of tables, a piece of the video, and other files in its folder."""

    def __init__(self, path: Path, topics: Sequence[OutputTopic], ending: str) -> None:
        self._path, self._ending = path, ending
        self._writing = path.with_name(f'{path.name}.writing')
        self._rows: dict[str, list[Row]] = {name: [] for name in TABLES}
        shutil.rmtree(self._writing, ignore_errors=True)
        with writing(self._writing):
            self._writing.mkdir()
        self._bag = _BagWriter(self._writing / _MESSAGES, topics).__enter__()
        self._video: VideoWriter | None = None

    @property
    def folder(self) -> Path:
        """Where the part is until it is complete."""
        return self._writing

    def write(self, topic: str, stamp_ns: int, cdr: bytes) -> None:
        """Write a message."""
        self._bag.write(topic, stamp_ns, cdr)

    def add_rows(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows to the table of that name."""
        self._rows[table] += rows

    def add_picture(self, image_rgb: np.ndarray, playback: Playback) -> None:
        """Add a frame to the video."""
        if self._video is None:
            self._video = VideoWriter(self._writing / VIDEO, playback.size_hw)
        self._video.write(image_rgb, playback.time_ns)

    def give_up(self) -> None:
        """Close the files; the part stays incomplete, and is written anew when the analysis goes on."""
        self._bag.abort()
        if self._video is not None:
            self._video.give_up()

    def finish(self, state: bytes) -> None:
        """Complete the part with what the next frames depend on; it appears under its name."""
        self._bag.__exit__(None, None, None)
        if self._video is not None:
            self._video.close()
        for name, rows in self._rows.items():
            write_table(self._writing / f'{name}{self._ending}', TABLES[name], rows)
        with writing(self._writing / _STATE):
            (self._writing / _STATE).write_bytes(state)
        with writing(self._path):
            os.replace(self._writing, self._path)


class AnalysisFolder:
    """Where an analysis writes.

    Args:
        path: of the folder; made where it is missing.
        topics: of the bag that is written.
        ending: of the tables, .parquet or .csv.
        frame: that places are in; empty: the camera's.
    """

    def __init__(self, path: Path, topics: Sequence[OutputTopic], ending: str, frame: str = '') -> None:
        self.path, self._topics, self._ending, self._frame = path, topics, ending, frame
        self._unfinished = path / _UNFINISHED

    def begin(self, manifest: dict[str, Any]) -> bytes | None:
        """Begin an analysis, or go on with one; return the state after its last part, None at the beginning.

        Args:
            manifest: all that the outputs depend on, as for JSON.

        Raises:
            ValueError: when the one that is there has another manifest, or cannot be read.
        """
        written = self._unfinished / _MANIFEST
        if written.exists():
            with readable(self.path):
                differing = differences(_read_json(written), manifest)
            if differing:
                raise ValueError(
                    f'{self.path}: expected the same analysis as before to resume it, received another '
                    f'{", ".join(differing)}; take --overwrite to begin anew'
                )
        else:
            beginning = written.with_suffix('.writing')
            with writing(written):
                self._unfinished.mkdir(parents=True, exist_ok=True)
                beginning.unlink(missing_ok=True)  # it may have another name
                beginning.write_text(json.dumps(manifest, indent=2))
                os.replace(beginning, written)
        parts = self._parts()
        if not parts:
            return None
        with readable(self.path):
            return read_plain(parts[-1] / _STATE, _MOST_STATE)

    def check_parts(self, frames: int, problems: int, video: bool) -> None:
        """Check that all parts are there, and their tables can be read and hold what the state after the last tells.

        Args:
            frames: that were segmented.
            problems: images and messages that were left out.
            video: whether there is one.

        Raises:
            ValueError, OSError and others: when not.
        """
        found = {'frames': 0, 'problems': 0, 'segments': 0, 'hierarchies': 0}
        segments = 0
        for number, part in enumerate(self._parts()):
            if part.name != f'part-{number:06d}':
                raise ValueError(f'expected part-{number:06d}, received {part.name}')
            before = found['frames']
            for name, columns in TABLES.items():
                names = [column.name for column in columns if 'list' not in column.type_name]
                for row in read_rows(part / f'{name}{self._ending}', columns, names):
                    found[name] += 1
                    segments += row[names.index('segments')] if name == 'frames' else 0
            if video and found['frames'] > before and not (part / VIDEO).exists():
                raise ValueError(f'expected {part.name}/{VIDEO}, found none')
            with open_bag(part / _MESSAGES / f'{_MESSAGES}.mcap', may_be_empty=True) as bag:
                if bag.lost or bag.count < found['frames'] - before:
                    raise ValueError(f'{part.name}: expected messages of {found["frames"] - before} images: {bag.lost}')
        read_frames(self._parts())
        expected = {'frames': frames, 'problems': problems, 'segments': segments, 'hierarchies': frames}
        if found != expected:
            raise ValueError(f'expected rows {expected}, received {found}')

    def next_part(self) -> Part:
        """Return a new part after those that are complete."""
        path = self._unfinished / f'part-{len(self._parts()):06d}'
        return Part(path, self._topics, self._ending)

    def sightings(self, most: int) -> Sightings:
        """Return what all parts show of things, with at most so many pairs of a voxel and a track.

        Raises:
            ValueError: for a part without them, or with others than those of this analysis.
        """
        return total(map(read_sightings, self._parts()), most)

    def shown(self, found: ObjectMap) -> dict[int, Shown]:
        """Return what shows each object of a map, by its id.

        Raises:
            ValueError, OSError: for a part that holds something else.
        """
        return shown_objects(found, [part / f'segments{self._ending}' for part in self._parts()])

    def finish(
        self,
        run: dict[str, Any],
        sweep: Sequence[float],
        more: Mapping[str, Callable[[Path, Sequence[Path]], None]],
        segment_columns: Mapping[str, Callable[[Path], Sequence[Any]]] | None = None,
        last_messages: Sequence[tuple[str, str, bytes]] = (),
    ) -> None:
        """Make the outputs from all parts; each appears under its name once it is complete, run.json the last.

        Args:
            run: what run.json says.
            sweep: values of tau for the table `sweep`; none: no such table.
            more: by the name of a further output, the function that writes it; it gets the path, in a folder with the
                outputs before it, and the folders of all parts.
            segment_columns: by the name of a column of the table `segments` that is known by now only, what returns its
                values for that table of a part.
            last_messages: topic, type and CDR of further messages, latched, each the only one of its topic, at the time
                of the last one of the others.
        """
        parts, final = self._parts(), self._unfinished / 'final'
        shutil.rmtree(final, ignore_errors=True)
        with writing(final):
            final.mkdir()
        last_ns = 0
        topics = [*self._topics, *(OutputTopic(name, type_name, True) for name, type_name, _ in last_messages)]
        with _BagWriter(final / 'segments', topics) as writer:
            for part in parts:
                # The file itself: to read metadata.yaml takes many times as long.
                last_ns = max(last_ns, _copy_messages(part / _MESSAGES / f'{_MESSAGES}.mcap', writer))
            for name, _, cdr in last_messages:
                writer.write(name, last_ns, cdr)
        outputs = [final / 'segments' / _BAG]
        for name, columns in TABLES.items():
            outputs.append(final / f'{name}{self._ending}')
            tables = [part / outputs[-1].name for part in parts]
            join_tables(tables, outputs[-1], columns, self._frame, segment_columns if name == 'segments' else None)
        if sweep:
            outputs.append(final / f'sweep{self._ending}')
            _write_sweep(final / f'hierarchies{self._ending}', outputs[-1], sweep)
        if pieces := [part / VIDEO for part in parts if (part / VIDEO).exists()]:
            outputs.append(final / VIDEO)
            join_videos(pieces, outputs[-1])
        for name, write in more.items():
            outputs.append(final / name)
            write(outputs[-1], parts)
        outputs.append(final / _RUN)
        _write_run(outputs[-1], run)
        for output in outputs:
            with writing(self.path / output.name):
                if output.is_dir():
                    _remove_pictures(self.path)
                os.replace(output, self.path / output.name)
        with writing(self.path):
            # First away under one name: killed while files are deleted, it shall not look like something to resume.
            os.replace(self._unfinished, self.path / _FINISHED)
            shutil.rmtree(self.path / _FINISHED)

    def discard(self) -> None:
        """Remove what has been begun."""
        with writing(self._unfinished):
            shutil.rmtree(self._unfinished)

    def _parts(self) -> list[Path]:
        with writing(self._unfinished):  # somebody may have deleted it
            return sorted(path for path in self._unfinished.glob('part-*') if not path.suffix)


def check_folder(path: Path, resume: bool, overwrite: bool) -> dict[str, Any] | None:
    """Check that an analysis may write into a locked folder; with `overwrite` empty it of an earlier one's outputs.

    Returns:
        What run.json says, when `resume` finds the analysis complete; else None.

    Raises:
        ValueError: for a folder that holds something and is neither to be resumed nor overwritten, and for one with
            links or pipes in place of files, or whose analysis cannot be read.
    """
    _check_own(path)
    shutil.rmtree(path / _FINISHED, ignore_errors=True)
    if overwrite:
        for name in _OUTPUTS:
            (path / name).unlink(missing_ok=True)
        _remove_pictures(path)
        shutil.rmtree(path / _UNFINISHED, ignore_errors=True)
    elif resume:
        return read_run(path)
    elif {one.name for one in path.iterdir()} - {LOCK}:
        holds = 'expected an empty folder, received one with files'
        if (path / _UNFINISHED).exists():
            holds = 'holds an analysis that was interrupted'
        elif (path / _RUN).exists():
            holds = 'holds a complete analysis'
        raise ValueError(f'{path}: {holds}; take --resume or --overwrite')
    return None


def _remove_pictures(path: Path) -> None:
    """Remove the pictures of objects in a folder, and theirs where it then is empty; what else is in there stays."""
    for picture in (path / PICTURES).glob('*.jpg'):
        if picture.stem.isdecimal():
            picture.unlink()
    with suppress(OSError):
        (path / PICTURES).rmdir()


def sweep_again(path: Path, ending: str, run: dict[str, Any], sweep: Sequence[float]) -> None:
    """Make the table `sweep` of a complete analysis anew, from its hierarchies; change report and run.json by it.

    Args:
        path: folder of the analysis.
        ending: of its tables.
        run: what its run.json says.
        sweep: values of tau.

    Raises:
        ValueError: for a tau beyond its hierarchies.
    """
    run = run | {'output': run['output'] | {'sweep': list(sweep)}}
    outputs = {f'sweep{ending}': lambda file: _write_sweep(path / f'hierarchies{ending}', file, sweep)}
    if (path / REPORT).exists():
        outputs[REPORT] = lambda file: replace_sweep(path / REPORT, file, ending)
    outputs[_RUN] = lambda file: _write_run(file, run)
    for name, write in outputs.items():
        new = path / f'.new-{name}'
        new.unlink(missing_ok=True)  # it may have another name
        write(new)
        os.replace(new, path / name)


def _write_sweep(hierarchies: Path, path: Path, sweep: Sequence[float]) -> None:
    write_table(path, SWEEP, sweep_rows((hierarchy for _, hierarchy in read_hierarchies(hierarchies)), sweep))


def _write_run(path: Path, run: dict[str, Any]) -> None:
    with writing(path):
        path.write_text(json.dumps(run, indent=2) + '\n')


def read_run(path: Path) -> dict[str, Any] | None:
    """Return what run.json in a folder says, None where there is no complete analysis.

    Raises:
        ValueError: when it cannot be read, or there are links or pipes in place of files.
    """
    _check_own(path)
    if not (path / _RUN).exists() or (path / _UNFINISHED).exists():
        return None
    with readable(path):
        run = _read_json(path / _RUN)
        check_run(run)
    return run


def _check_own(path: Path) -> None:
    """Check that all that an analysis reads or writes in a folder lies there itself."""
    check_plain([path / name for name in (*_OUTPUTS, *(f'.new-{name}' for name in _OUTPUTS))])
    for folder in (path / _UNFINISHED, path / _FINISHED, path / PICTURES):
        check_plain([folder])
        check_plain(folder.rglob('*'))


def _read_json(path: Path) -> dict[str, Any]:
    content = json.loads(read_plain(path, _MOST_ABOUT))
    if not isinstance(content, dict):
        raise ValueError(f'{path.name} holds no JSON object')
    return content


@contextmanager
def readable(path: Path, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Read inside what an earlier analysis has left in a folder, whoever wrote it.

    Args:
        path: of the folder.
        but: exceptions that have other causes, which stay what they are.

    Raises:
        ValueError: for any other exception inside; the text, one line, says what to do.
    """
    try:
        yield
    except but:
        raise
    except Exception as error:  # a boundary: damage shows as any exception of what reads it
        reason = str(error) if isinstance(error, ValueError) and str(error) else f'{type(error).__name__}: {error}'
        if isinstance(error, OSError) and error.filename:
            reason = f'{error.filename}: {error.strerror}'
        reason = printable(reason, _LONGEST_REASON)
        what = 'an unfinished' if (path / _UNFINISHED).exists() else 'a complete'
        raise ValueError(
            f'{path}: holds {what} analysis that cannot be read ({reason}); take another folder, or --overwrite to '
            'begin anew'
        ) from error


def begun(path: Path) -> set[tuple[str, int, int]]:
    """Return what tells the analyses in a folder apart: one that has begun or ended since has something else there."""
    found = set()
    for name in (f'{_UNFINISHED}/{_MANIFEST}', _RUN):
        with suppress(OSError):
            about = (path / name).stat()
            found.add((name, about.st_ino, about.st_mtime_ns))
    return found


def merge_outputs(folders: Sequence[Path], out: Path, ending: str, recordings: Sequence[Row]) -> None:
    """Write each table of several analyses as one, with a first column `recording`, and the table `recordings`.

    Args:
        folders: of the analyses, all complete; their names are the recordings'.
        out: the folder to write into.
        ending: of the tables, .parquet or .csv.
        recordings: rows of `RECORDINGS`.

    Raises:
        ValueError: when an analysis has no tables of this ending.
        OSError: when they cannot be written.
    """
    scratch = out / _MERGING
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for name, columns in TABLES.items():
        parts = {folder.name: folder / f'{name}{ending}' for folder in folders}
        for part in parts.values():
            if not part.exists():
                raise ValueError(
                    f'{part.parent}: expected {part.name}, since all recordings are to have tables of one kind, found '
                    'none; take the options that it was analysed with, or --overwrite'
                )
        merge_tables(parts, scratch / f'{name}{ending}', columns)
    write_table(scratch / f'{_RECORDINGS}{ending}', RECORDINGS, recordings)
    objects = {folder.name: folder / f'{OBJECTS_TABLE}{ending}' for folder in folders}
    if objects and all(part.exists() for part in objects.values()):
        merge_tables(objects, scratch / f'{OBJECTS_TABLE}{ending}', OBJECTS)
    else:
        (out / f'{OBJECTS_TABLE}{ending}').unlink(missing_ok=True)  # of an analysis before
    for path in scratch.iterdir():
        with writing(out / path.name):
            os.replace(path, out / path.name)
    scratch.rmdir()


def check_merged(out: Path, may_be_there: bool) -> None:
    """Raise ValueError where several recordings have been analysed into a folder before, unless that may be.

    Also where links or pipes are in place of what is written there.
    """
    check_plain(
        out / name
        for name in (
            _MERGING,
            *(f'{table}{end}' for table in (*TABLES, OBJECTS_TABLE, _RECORDINGS) for end in _ENDINGS),
        )
    )
    there = [name for ending in _ENDINGS if (out / (name := f'{_RECORDINGS}{ending}')).exists()]
    if there and not may_be_there:
        raise ValueError(
            f'{out}: expected a folder without {there[0]} of an earlier analysis; take --resume or --overwrite'
        )


def _copy_messages(path: Path, writer: _BagWriter) -> int:
    """Copy all messages of a bag; return the time of the last one, 0 without any."""
    last_ns = 0
    with open_bag(path, may_be_empty=True) as bag:
        for message in bag.messages(set(bag.topics)):
            writer.write(message.topic, message.time_ns, message.cdr)
            last_ns = max(last_ns, message.time_ns)
        if bag.lost:
            raise ValueError(f'{path}: a part of the analysis is damaged: {bag.lost}')
    return last_ns
