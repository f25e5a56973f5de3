"""The command `diffcut_teach`: a page on which a recording learns names."""

import argparse
import ipaddress
import os
import shlex
import socket
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.progress import MofNCompleteColumn, TaskProgressColumn

from diffcut_ros.analysis.reteach import teach_again
from diffcut_ros.analysis.settings import NODE, AnalysisOptions, Settings, left_out_parameters, read_settings
from diffcut_ros.arguments.parser import given
from diffcut_ros.arguments.teach import parse
from diffcut_ros.classes_file import ClassesFile, read_classes
from diffcut_ros.core import Classes
from diffcut_ros.core.classes import Source
from diffcut_ros.exit_status import Status
from diffcut_ros.features import create_extractor
from diffcut_ros.features.probe import comparable, probe
from diffcut_ros.features.registry import Extractor
from diffcut_ros.interruption import interruptible
from diffcut_ros.missing import needed
from diffcut_ros.plain_files import check_plain
from diffcut_ros.printable import LONGEST_NAME, counted, file_name, printable, quoted, tell
from diffcut_ros.progress import BarOrLines
from diffcut_ros.teach.lesson import Lesson
from diffcut_ros.teach.live import LiveFrames
from diffcut_ros.teach.recording import RecordedFrames
from diffcut_ros.teach.server import MIN_CONFIDENCE, Page, Use, listen, serving
from diffcut_ros.teach.spread import Recording

_LOOK_S = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    args = parse(sys.argv[1:] if arguments is None else arguments)
    served: list[Page] = []
    try:
        with interruptible():
            _run(args, served)
    except (ValueError, MemoryError) as error:
        status, text = Status.BAD_INPUT, str(error)
    except (OSError, RuntimeError) as error:
        status, text = Status.FAILED, str(error)
    except KeyboardInterrupt:
        status, text = Status.INTERRUPTED, 'interrupted'
        if served:
            lesson = served[0].lesson
            if lesson.problem:
                lesson.save()
            status, text = Status.FAILED if lesson.problem else 0, _end(lesson)
    tell(f'diffcut_teach: {text}', sys.stdout if status == 0 else sys.stderr)
    if served and not served[0].end():
        os._exit(status)  # a frame is still being made, which Python does not survive
    return status


def _end(lesson: Lesson) -> str:
    if lesson.problem:
        return f'{lesson.problem}{"; what was taught since is lost" * lesson.unsaved}'
    taught = counted(len(lesson.classes), 'example'), counted(len(lesson.classes.classes), 'name')
    return f'{" of ".join(taught)}, in {lesson.path}'


def _run(args: argparse.Namespace, served: list[Page]) -> None:
    """Collect frames, and serve until a signal comes."""
    with ExitStack() as stack:
        node = None if args.node is None else stack.enter_context(_running(args.node))
        options = _options(args) if node is None else _options_of(node, args, stack)
        if left_out := left_out_parameters(options):
            tell(f'diffcut_teach: {left_out}')
        settings = read_settings(options)
        path = _classes_path(args, settings)
        listening = stack.enter_context(closing(listen(args.address, args.port)))
        extractor = create_extractor(settings.node.backend, settings.node.device, **settings.extractor)
        extractor.prepare(1)
        own = probe(extractor)
        before = _of_another_backend(path, args, own, settings.node.backend)
        old = Classes() if before is None else before.classes
        lesson = Lesson(path if before is None else _anew(path, settings.node.backend), extractor.description, own)
        if before is not None:
            tell(
                f'diffcut_teach: the {len(old)} examples of {path} are of another backend ({before.backend}): the page '
                f'can learn them anew; names go to {lesson.path}'
            )
        source: RecordedFrames | LiveFrames
        sources = *lesson.classes.sources, *old.sources
        if node is None:
            source = _recorded(args, options, extractor, sources, path.parent)
        else:
            source = _live(args, node, settings, extractor)
        wanted = [one.stamp_ns for one in sources if one.recording == source.name]
        with BarOrLines(MofNCompleteColumn()) as progress:
            task = progress.add_task('frames', total=min(args.frames, source.left))
            taken = source.take(
                args.frames, wanted, lambda done, count: progress.update(task, completed=done, total=count)
            )
            lesson.add(list(taken))
        for note in source.notes:
            tell(f'diffcut_teach: {note}')

        def learn_anew() -> None:
            again = teach_again(old, path.parent, [args.recording], options, settings, extractor)
            lesson.take_over(again.classes)
            if again.missing:
                lesson.tell(f'{len(again.classes)} of {len(old)} examples are learned anew; not found: {again.missing}')

        page = Page(
            lesson,
            printable(_name(args), LONGEST_NAME),
            use(args, settings, source.topic, lesson.path),
            source,
            learn_anew,
            _offer(path, before) if before is not None and not {*old.sources} & {*lesson.classes.sources} else '',
        )
        _serve(args, page, listening, served)


def _running(name: str) -> Any:
    with needed('--node', 'teach'):
        from diffcut_ros.node.running_node import running_node
    return running_node('/' + name.strip('/'))


def _known_as(recording: Recording, sources: Sequence[Source], folder: Path) -> str:
    """Return how examples call a recording: as in those that are there, or else by where it is from a folder."""
    path = recording.path.resolve()
    for known, stamps_ns in _stamps(sources, recording.topic).items():
        for place in (Path(known), folder / known):
            with suppress(OSError):  # there is none
                if place.samefile(path):
                    return known
        # It was somewhere else, or the file is given for its folder.
        named = {Path(known).name, Path(known).stem} & {path.name, path.stem, path.parent.name}
        if named and stamps_ns <= {*recording.stamps_ns}:
            return known
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _stamps(sources: Sequence[Source], topic: str) -> dict[str, set[int]]:
    """Return of which images of a topic there are examples, by recording."""
    stamps_ns: dict[str, set[int]] = {}
    for one in sources:
        if one.recording and one.topic == topic:
            stamps_ns.setdefault(one.recording, set()).add(one.stamp_ns)
    return stamps_ns


def _recorded(
    args: argparse.Namespace,
    options: AnalysisOptions,
    extractor: Extractor,
    sources: Sequence[Source],
    folder: Path,
) -> RecordedFrames:
    recording = Recording(args.recording, options)
    with BarOrLines(TaskProgressColumn()) as progress:
        task = progress.add_task(f'look through {printable(args.recording.name, LONGEST_NAME)}', total=1.0)
        settings = recording.look_through(lambda share: progress.update(task, completed=share))
        progress.update(task, completed=1.0)
    return RecordedFrames(recording, settings, extractor, _known_as(recording, sources, folder))


def _live(args: argparse.Namespace, node: Any, settings: Settings, extractor: Extractor) -> LiveFrames:
    """Collect images of a running node; ValueError where none comes."""
    frames = LiveFrames(settings, extractor)
    topic = args.image_topic
    if topic is None and (camera := _chosen(_name(args), node.parameters()['cameras'], args.camera)):
        topic = node.image_topic(camera)
    frames.topic = node.listen(topic, frames.add)
    with BarOrLines(TaskProgressColumn()) as progress:
        task = progress.add_task(f'images of {printable(frames.topic, LONGEST_NAME)}', total=args.seconds)
        begin_s = time.monotonic()
        while (passed_s := time.monotonic() - begin_s) < args.seconds:
            time.sleep(min(_LOOK_S, args.seconds))
            progress.update(task, completed=passed_s)
    if not frames.left:
        why = f': {"; ".join(frames.notes)}' if frames.notes else '; does the camera publish?'
        raise ValueError(f'{frames.topic}: expected images within {args.seconds:g} s, received none{why}')
    return frames


def _serve(args: argparse.Namespace, page: Page, listening: socket.socket, served: list[Page]) -> None:
    port = listening.getsockname()[1]
    if port != args.port:
        tell(f'diffcut_teach: port {args.port} is taken; {port} is the next free one')
    if not ipaddress.ip_address(args.address).is_loopback:
        tell(
            f'diffcut_teach: whoever reaches {args.address} sees the images and can change {page.lesson.path}; there '
            'is no password'
        )
    everywhere = args.address in ('0.0.0.0', '::')
    shown = 'localhost' if everywhere else f'[{args.address}]' if ':' in args.address else args.address
    elsewhere = f'; from elsewhere http://{socket.gethostname()}:{port}/ or by an address of this machine' * everywhere
    with serving(page, listening):
        served.append(page)
        tell(f'open http://{shown}:{port}/ (Ctrl-C ends; {page.lesson.path}){elsewhere}', sys.stdout)
        threading.Event().wait()


def _name(args: argparse.Namespace) -> str:
    """Return what the recording or the node is called."""
    return args.recording.resolve().name if args.node is None else '/' + args.node.strip('/')


def use(args: argparse.Namespace, settings: Settings, topic: str, path: Path) -> Use:
    """Return how a node uses the names."""
    node = _name(args) if args.node is not None else args.node_name or NODE
    if args.node is None:
        values = given(args, 'backend', 'tau') | {'classes_file': path}
        words = ['ros2', 'run', 'diffcut_ros', 'diffcut_node', '--ros-args']
        space, _, name = node.rpartition('/')
        words += ['-r', f'__ns:={space}'] if space else []
        words += ['-r', f'__node:={name}'] if node != NODE else []
        if tuple(settings.node.cameras) == ('',):
            raw, _, last = topic.rpartition('/')
            words += ['-r', f'image:={raw if last == "compressed" else topic}']
            values |= {'image_transport': 'compressed'} if last == 'compressed' else {}
        words += [] if args.params is None else ['--params-file', str(args.params.absolute())]
        words += [word for name, value in values.items() for word in ('-p', f'{name}:={value}')]
        start = [('Start a node', f'{shlex.join(words)} -p min_confidence:={MIN_CONFIDENCE}')]
    else:
        start = []
    sets = [f'ros2 param set {node} classes_file {shlex.quote(str(path))}']
    sets.append(f'ros2 param set {node} min_confidence {MIN_CONFIDENCE}')
    return Use(node, (*start, ('A node that runs already', '\n'.join(sets))), settings.node.min_confidence)


def _options(args: argparse.Namespace) -> AnalysisOptions:
    node = {} if args.node_name is None else {'node': args.node_name}
    values = given(args, 'params', 'backend', 'tau', 'image_topic') | node
    options = AnalysisOptions(depth=False, rate_hz=0.0, **values)
    # Depth counts only where it divides segments.
    if read_settings(options).segmenter.instances == 'space':
        return AnalysisOptions(rate_hz=0.0, **values)
    return options


def _options_of(node: Any, args: argparse.Namespace, stack: ExitStack) -> AnalysisOptions:
    """Return the options by which the parameters of a running node hold."""
    file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / 'node.yaml'
    # An empty list has no type in a parameter file.
    values = {name: value for name, value in node.parameters().items() if value not in ([], None)}
    _chosen(_name(args), values.pop('cameras'), args.camera)  # before a backend is loaded
    file.write_text(yaml.safe_dump({NODE: {'ros__parameters': _plain(values)}}))
    return AnalysisOptions(params=file, depth=False, rate_hz=0.0, **given(args, 'backend', 'tau'))


def _chosen(node: str, cameras: Sequence[str], camera: str | None) -> str:
    """Return the camera of a node that is asked for, or its only one; ValueError says which there are."""
    named = [one for one in cameras if one]
    if camera is None and len(cameras) == 1:
        return cameras[0]
    if not named:
        raise ValueError(f'{node} has one camera, without a name: leave --camera out')
    if camera is None or camera not in cameras:
        raise ValueError(f'{node} has camera{"s" * (len(named) > 1)} {", ".join(named)}: --camera {named[0]}')
    return camera


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, (list, tuple, array)) else value for name, value in values.items()}


def _classes_path(args: argparse.Namespace, settings: Settings) -> Path:
    """Return the file of classes; ValueError where none can be."""
    named = settings.node.classes_file
    name = file_name(f'{_name(args).strip("/").partition(".")[0]}_classes.yaml')
    path = args.classes or (Path(named) if named else Path(name))
    path = Path(os.path.abspath(path.expanduser()))
    check_plain([path])
    if not path.parent.is_dir():
        raise ValueError(f'{path}: expected a folder that is there, to keep the file of classes in, found none')
    return path


def _of_another_backend(path: Path, args: argparse.Namespace, own: np.ndarray, backend: str) -> ClassesFile | None:
    """Return what a file holds that is of another backend; None: it is of this one, or not there.

    Raises:
        ValueError: where a running node is shown: nothing tells which recordings hold what was clicked on.
    """
    content = read_classes(path) if path.exists() else None
    if content is None or comparable(content.probe, own):
        return None
    if args.node is not None:
        new = quoted(_anew(path, backend))
        raise ValueError(
            f'{path}: its names were taught with another backend ({content.backend}). To learn them anew from the '
            f'same clicks: diffcut_reteach {quoted(path)} RECORDING -o {new} --backend {backend}; then diffcut_teach '
            f'with --classes {new}'
        )
    return content


def _anew(path: Path, backend: str) -> Path:
    """Return the file for what another one holds, learned with another backend."""
    return path.with_name(f'{path.stem}_{file_name(Path(backend).name)}.yaml')


def _offer(path: Path, before: ClassesFile) -> str:
    count = len(before.classes)
    return (
        f'{path.name} was taught with another backend ({before.backend}). Its {count} example{"s" * (count != 1)} can '
        'be learned anew from the same clicks.'
    )


if __name__ == '__main__':
    sys.exit(main())
