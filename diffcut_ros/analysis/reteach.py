"""The command `diffcut_reteach`: examples of classes from their recordings again, with another backend."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import MofNCompleteColumn

from diffcut_ros.analysis.reading import Moments
from diffcut_ros.analysis.run import open_recording
from diffcut_ros.analysis.settings import AnalysisOptions, Settings, left_out_parameters, read_settings
from diffcut_ros.arguments.parser import given
from diffcut_ros.arguments.reteach import parse
from diffcut_ros.classes_file import ClassesFile, read_classes, write_classes
from diffcut_ros.core import Classes, Pipeline, Result
from diffcut_ros.core.classes import Source
from diffcut_ros.core.clicks import Clicked, clicked
from diffcut_ros.exit_status import Status
from diffcut_ros.features import create_extractor
from diffcut_ros.features.probe import probe
from diffcut_ros.features.registry import Extractor
from diffcut_ros.interruption import interruptible
from diffcut_ros.plain_files import check_plain
from diffcut_ros.printable import quoted, tell
from diffcut_ros.progress import BarOrLines
from diffcut_ros.recordings.bag import open_bag

Box = tuple[int, int, int, int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    args = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        with interruptible():
            status, text = _run(args)
    except (ValueError, MemoryError) as error:
        status, text = Status.BAD_INPUT, str(error)
    except (OSError, RuntimeError) as error:
        status, text = Status.FAILED, str(error)
    except KeyboardInterrupt:
        status, text = Status.INTERRUPTED, 'interrupted; nothing is written'
    tell(f'diffcut_reteach: {text}', sys.stdout if status in (0, Status.INCOMPLETE) else sys.stderr)
    return status


def _run(args: argparse.Namespace) -> tuple[int, str]:
    options = AnalysisOptions(depth=False, **given(args, 'params', 'backend', 'tau'), **_node(args))
    if left_out := left_out_parameters(options):
        tell(f'diffcut_reteach: {left_out}')
    before = read_classes(args.classes)
    check_plain([args.out])
    if args.out.exists() and not args.overwrite:
        raise ValueError(f'{args.out}: expected a new file, received one that exists; take another or --overwrite')
    settings = read_settings(options)
    extractor = create_extractor(settings.node.backend, settings.node.device, **settings.extractor)
    with BarOrLines(MofNCompleteColumn()) as progress:
        task = progress.add_task('examples', total=len(before.classes))
        found = teach_again(
            before.classes, args.classes.parent, args.recordings, options, settings, extractor,
            lambda: progress.advance(task),
        )  # fmt: skip
    if not found.classes:
        raise ValueError(f'{args.classes}: none of its {len(before.classes)} examples was found: {found.missing}')
    write_classes(args.out, ClassesFile(found.classes, extractor.description, probe(extractor)))
    text = f'{len(found.classes)} of {len(before.classes)} examples again, in {args.out}'
    return (Status.INCOMPLETE, f'{text}; not found: {found.missing}') if found.missing else (0, text)


def _node(args: argparse.Namespace) -> dict[str, str]:
    return {} if args.node_name is None else {'node': args.node_name}


@dataclass(frozen=True)
class Again:
    """What was found again.

    Attributes:
        classes: the names of before, with the examples that were found.
        missing: how many were not, and why, as text; empty: all were.
    """

    classes: Classes
    missing: str


def teach_again(
    before: Classes,
    folder: Path,
    recordings: Sequence[Path],
    options: AnalysisOptions,
    settings: Settings,
    extractor: Extractor,
    on_example: Callable[[], None] = lambda: None,
) -> Again:
    """Take examples from the images that they are from, with other features.

    The segment at an example's point counts, or what it is part of in the hierarchy: that whose box is most like the
    example's.

    Args:
        before: names and examples.
        folder: relative paths of recordings are taken from here, where nothing is there from the working folder.
        recordings: further ones, for examples without a recording, or whose recording is none of these by its path.
        options: of reading.
        settings: of the pipeline.
        extractor: of the new features.
        on_example: called after each.
    """
    wanted: dict[Path, set[int]] = {}
    causes: Counter[str] = Counter()
    for index, source in enumerate(before.sources):
        places = list(_places(source, folder, recordings))
        if not places:
            causes[
                f'no recording {quoted(source.recording)}'
                if source.recording
                else 'taught on a live camera: give recordings of then'
            ] += 1
        for place in places:
            wanted.setdefault(place, set()).add(index)
    found: dict[int, Clicked] = {}
    problems: dict[int, str] = {}
    pipeline = Pipeline(extractor, settings.segmenter)
    for place, indices in wanted.items():
        for topic in sorted({before.sources[index].topic for index in indices}):
            left = {index for index in indices - found.keys() if before.sources[index].topic == topic}
            for index, one in _in_recording(place, topic, left, before.sources, options, settings, pipeline):
                if isinstance(one, Clicked):
                    found[index] = one
                    on_example()
                else:
                    problems[index] = one
    searched = {index for indices in wanted.values() for index in indices}
    causes.update(problems.get(index, 'no image of its stamp') for index in searched - found.keys())
    classes = Classes(before.classes, checked=before.checked)
    for index in sorted(found):
        segment, name = found[index].segment, before.name(int(before.class_id[index]))
        classes = classes.with_example(name, segment.feature, segment.score, before.sources[index])
    return Again(classes, ', '.join(f'{count} ({cause})' for cause, count in causes.most_common()))


def _places(source: Source, folder: Path, recordings: Sequence[Path]) -> Iterator[Path]:
    """Yield the recordings that an example may be from."""
    if source.recording:
        path = Path(source.recording)
        own = [one for one in (path, folder / path) if one.exists()]
        yield from own[:1] or [one for one in recordings if one.name == path.name]
    else:
        yield from recordings


def _in_recording(
    place: Path,
    topic: str,
    indices: set[int],
    sources: Sequence[Source],
    options: AnalysisOptions,
    settings: Settings,
    pipeline: Pipeline,
) -> Iterator[tuple[int, Clicked | str]]:
    """Yield the examples that are found on a topic of a recording, or why one cannot be taken, until all are."""
    with open_bag(place) as bag:
        same = topic, f'{topic}/compressed', topic.removesuffix('/compressed')  # often one is shown, the other recorded
        there = next((one for one in same if one in bag.topics), None)
        if topic and there is None:
            yield from ((index, f'no topic {quoted(topic)} in {place.name}') for index in sorted(indices))
            return
    with open_recording(place, replace(options, image_topic=there)) as (bag, topics, *_):
        for moment in Moments(bag, topics, options, settings):
            if not indices:
                return
            here = {index for index in indices if sources[index].stamp_ns == moment.stamp_ns}
            if moment.scene is None:
                yield from ((index, moment.problem) for index in sorted(here) if moment.problem)
                continue
            if not here:
                continue
            indices = indices - here
            result = pipeline.process(moment.scene)
            for index in sorted(here):
                yield index, _most_like(result, sources[index])


def _most_like(result: Result, source: Source) -> Clicked | str:
    height, width = result.segmentation.labels.shape
    if (width, height) != source.size_wh:
        return f'the image has {width} x {height} pixels, not {source.size_wh[0]} x {source.size_wh[1]}'
    best, level = None, 0
    try:
        while (one := clicked(result, *source.point_xy, level)).level == level:
            if best is None or _overlap(one, source.box_xyxy) > _overlap(best, source.box_xyxy):
                best = one
            level += 1
    except ValueError as error:
        return str(error)
    assert best is not None  # level 0 is what there is
    return best


def _overlap(one: Clicked, box: Box) -> float:
    """Return the intersection over union of two boxes."""
    a, b = one.segment.box_xyxy, box
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    areas = ((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b))
    return shared / (sum(areas) - shared)


if __name__ == '__main__':
    sys.exit(main())
