"""The command `diffcut_analyze`: segments of recordings, without ROS running."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.progress import MofNCompleteColumn, TaskProgressColumn, TextColumn

from diffcut_ros.analysis.lock import locked
from diffcut_ros.analysis.manifest import check_same
from diffcut_ros.analysis.many import Engine, Outcome, Processes, analyze_many, folder_names, merge
from diffcut_ros.analysis.parts import begun, check_merged
from diffcut_ros.analysis.ray_tasks import RayTasks
from diffcut_ros.analysis.report.index import INDEX, write_index
from diffcut_ros.analysis.report.page import check_report
from diffcut_ros.analysis.run import Progress as Done
from diffcut_ros.analysis.run import analyze_to_folder
from diffcut_ros.analysis.settings import AnalysisOptions, OutputOptions, left_out_parameters, read_named, read_settings
from diffcut_ros.analysis.tables import check_parquet
from diffcut_ros.arguments.analyze import parse, parse_sweep
from diffcut_ros.arguments.parser import given
from diffcut_ros.exit_status import Status
from diffcut_ros.interruption import interruptible
from diffcut_ros.printable import LONGEST_NAME, printable, tell
from diffcut_ros.progress import BarOrLines

# Options that each of several recordings is analysed without.
_OF_ALL = ('bags', 'out', 'jobs', 'retries', 'engine', 'ray_address')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    args = parse(sys.argv[1:] if arguments is None else arguments)
    status, text = _guarded(interruptible()(_one_or_many), args)
    tell(text, sys.stdout if status in (0, Status.INCOMPLETE) else sys.stderr)
    return status


def _one_or_many(args: argparse.Namespace) -> tuple[int, str]:
    left_out = left_out_parameters(_options(args))
    if left_out:
        tell(f'diffcut_analyze: {left_out}')
    return (_many if len(args.bags) > 1 else _one)(args)


def analyze_one(arguments: Sequence[str]) -> tuple[int, str]:
    """Run the command for one recording; return its exit status and what it says."""
    return _guarded(_one, parse(arguments))


def _guarded(work: Callable[[argparse.Namespace], tuple[int, str]], args: argparse.Namespace) -> tuple[int, str]:
    """Return the exit status and the text of some work, or those of what ended it."""
    try:
        return work(args)
    except (ValueError, MemoryError) as error:
        return Status.BAD_INPUT, f'diffcut_analyze: {error}'
    except (OSError, RuntimeError) as error:
        return Status.FAILED, f'diffcut_analyze: {error}{_kept(args)}'
    except KeyboardInterrupt:
        return Status.INTERRUPTED, f'diffcut_analyze: interrupted{_kept(args)}'


def _kept(args: argparse.Namespace) -> str:
    """Say that it can be resumed, if there is something to go on from."""
    return '; what is done is kept: go on with --resume' if any(map(begun, _folders(args))) else ''


def _folders(args: argparse.Namespace) -> list[Path]:
    """Return the folders of the outputs of each recording."""
    return [args.out] if len(args.bags) == 1 else [args.out / name for name in folder_names(args.bags)]


def _options(args: argparse.Namespace) -> AnalysisOptions:
    named = {'start': 'start_s', 'duration': 'duration_s', 'rate': 'rate_hz', 'node_name': 'node'}
    same = (
        'params',
        'backend',
        'tau',
        'target_segments',
        'classes',
        'depth_scale',
        'target_frame',
        'image_topic',
        'camera_info_topic',
        'depth_topic',
        'every',
    )
    values = {named.get(name, name): value for name, value in given(args, *named, *same).items()}
    return AnalysisOptions(depth=not args.no_depth, **values)


def _output(args: argparse.Namespace) -> OutputOptions:
    sweep = parse_sweep(args.sweep) if args.sweep else ()
    more = given(args, 'with_source', 'raw_labels', 'csv', 'hierarchy_tau', 'color_by', 'objects')
    return OutputOptions(video=not args.no_video, sweep=sweep, report=not args.no_report, **more)


def _one(args: argparse.Namespace) -> tuple[int, str]:
    output = _output(args)
    bag = args.bags[0]
    with BarOrLines(TaskProgressColumn(), TextColumn('{task.fields[rate]}')) as progress:
        task = progress.add_task(printable(bag.name, LONGEST_NAME), total=1.0, rate='')
        begun: list[tuple[int, float]] = []

        def show(done: Done) -> None:
            now_s = progress.get_time()
            begun.append((done.frames, now_s)) if not begun else None
            first, first_s = begun[0]
            rate_hz = (done.frames - first) / max(1e-3, now_s - first_s)
            progress.update(task, completed=done.share, rate=f'{done.frames} images, {rate_hz:.1f} per s')

        summary = analyze_to_folder(
            bag, args.out, _options(args), output, args.resume, args.overwrite, show, progress.begin
        )
        progress.update(task, completed=1.0)
    return summary.status, summary.text(bag, args.out)


def _many(args: argparse.Namespace) -> tuple[int, str]:
    options, output = _options(args), _output(args)
    settings = read_settings(options)  # wrong for one, wrong for all
    classes = read_named(settings)
    output.by_class(classes)
    output.check(settings)
    if classes is not None:  # where another machine looks for it, too
        args.classes = Path(settings.node.classes_file)
    if not args.csv:
        check_parquet()
    if output.report:
        check_report()
    folder_names(args.bags)
    ending = '.csv' if args.csv else '.parquet'
    if args.engine == 'ray':
        engine: Engine = RayTasks(args.ray_address, args.jobs, settings.node.device, analyze_one)
        at_a_time = args.jobs or len(args.bags)  # Ray knows how many there is room for
    else:
        at_a_time = min(args.jobs or 1, len(args.bags))
        engine = Processes(at_a_time)
    with locked(args.out), BarOrLines(MofNCompleteColumn()) as progress:
        check_merged(args.out, args.resume or args.overwrite)
        task = progress.add_task('recordings', total=len(args.bags))

        def check_complete(run: dict[str, Any], folder: Path, bag: Path) -> None:
            check_same(run, folder, bag, options, settings, output, classes)

        def show(outcome: Outcome) -> None:
            progress.advance(task)
            text = printable(f'{outcome.bag}: {outcome.text}')
            progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

        with engine:
            progress.begin(f'analysing {len(args.bags)} recordings, {at_a_time} at a time')
            outcomes = analyze_many(
                args.bags,
                args.out,
                _arguments_of_each(args),
                engine,
                at_a_time,
                args.retries,
                check_complete,
                show,
            )
        merge(outcomes, args.out, ending)
        if output.report:
            write_index(args.out, outcomes, ending)
    failed = [f'{one.folder.name} (exit status {int(one.status)})' for one in outcomes if one.status]
    pages = f', {args.out / INDEX}' if output.report else ''
    if not failed:
        return 0, f'{len(outcomes)} recordings analysed, outputs in {args.out}{pages}'
    statuses = {outcome.status for outcome in outcomes}
    # Wrong input for some is a failure of those; for all, it is a wrong command.
    status = Status.BAD_INPUT if statuses == {Status.BAD_INPUT} else Status.FAILED
    if statuses - {0} == {Status.INCOMPLETE}:
        status = Status.INCOMPLETE
    return status, (
        f'diffcut_analyze: {len(failed)} of {len(outcomes)} recordings failed or are incomplete: {", ".join(failed)}; '
        f'reasons above, and in the table recordings{pages}'
    )


def _arguments_of_each(args: argparse.Namespace) -> list[str]:
    """Return the arguments of the command for one of several recordings."""
    arguments = []
    for name, value in vars(args).items():
        if name in _OF_ALL or value is None or value is False:
            continue
        arguments.append(f'--{name.replace("_", "-")}')
        if value is not True:
            arguments[-1] += f'={value.resolve() if isinstance(value, Path) else value}'
    return arguments


if __name__ == '__main__':
    sys.exit(main())
