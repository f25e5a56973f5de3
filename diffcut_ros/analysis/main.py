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
from diffcut_ros.analysis.parts import check_merged
from diffcut_ros.analysis.ray_tasks import RayTasks
from diffcut_ros.analysis.run import Progress as Done
from diffcut_ros.analysis.run import Status, analyze_to_folder
from diffcut_ros.analysis.settings import AnalysisOptions, OutputOptions, left_out_parameters, read_settings
from diffcut_ros.analysis.sweep import parse_sweep
from diffcut_ros.analysis.tables import check_parquet
from diffcut_ros.interruption import interruptible
from diffcut_ros.progress import BarOrLines

# Options that each of several recordings is analysed without.
_OF_ALL = ('bags', 'out', 'jobs', 'retries', 'engine', 'ray_address')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='diffcut_analyze',
        description='Segment the camera images of recordings: ROS 1 (.bag), ROS 2 (folder, .mcap, .db3).',
        epilog='Exit status: 0 all done; 1 failed; 2 wrong input; 3 done, but part of the input could not be read.',
    )
    defaults = AnalysisOptions()
    parser.add_argument('bags', nargs='+', type=Path, metavar='BAG', help='recordings')
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder of the outputs')
    which = parser.add_argument_group('which images')
    which.add_argument('--image-topic', metavar='TOPIC', help='camera, raw or compressed; found by type and name')
    which.add_argument('--camera-info-topic', metavar='TOPIC', help='found likewise, where there is depth')
    which.add_argument('--depth-topic', metavar='TOPIC', help='raw depth, found likewise')
    which.add_argument('--no-depth', action='store_true', help='take images without depth, too; no segments in space')
    which.add_argument(
        '--start', type=float, default=defaults.start_s, metavar='S', help='begin so many seconds after the first image'
    )
    which.add_argument('--duration', type=float, metavar='S', help='analyse so many seconds; default: to the end')
    which.add_argument(
        '--rate', type=float, metavar='HZ', help='images per second at most; default: rate_hz of the file, else all'
    )
    which.add_argument('--every', type=int, default=defaults.every, metavar='N', help='take each n-th image')
    how = parser.add_argument_group('how')
    how.add_argument('--params', type=Path, metavar='FILE', help="the node's parameter file")
    how.add_argument(
        '--node-name',
        default=defaults.node,
        metavar='NAME',
        help='full name that the node has in it; default: %(default)s',
    )
    how.add_argument('--backend', metavar='NAME', help='feature extractor; replaces that of the file')
    how.add_argument('--tau', type=float, help='threshold of the splits; replaces that of the file')
    how.add_argument(
        '--target-segments', type=int, metavar='N', help='at most so many segments; replaces that of the file'
    )
    what = parser.add_argument_group('outputs')
    what.add_argument('--with-source', action='store_true', help='copy the input topics into segments.mcap')
    what.add_argument('--raw-labels', action='store_true', help='label images as they are, not as PNG')
    what.add_argument('--csv', action='store_true', help='tables as CSV, not as Parquet')
    what.add_argument(
        '--sweep',
        metavar='tau=FIRST:LAST:STEP',
        help='numbers of segments and their stability for these values of tau, from the hierarchies; also for an '
        'analysis that is complete, with --resume',
    )
    what.add_argument('--no-video', action='store_true', help='without overlay.mp4, which takes time')
    what.add_argument('--no-report', action='store_true', help='leave report.html out')
    what.add_argument('--resume', action='store_true', help='go on with an analysis that was interrupted')
    what.add_argument('--overwrite', action='store_true', help='replace the outputs of an earlier analysis')
    many = parser.add_argument_group('several recordings')
    many.add_argument(
        '--jobs', type=int, metavar='N', help='so many at a time; default: 1, with Ray as many as there is room for'
    )
    many.add_argument('--retries', type=int, default=2, metavar='N', help='how often one that fails is tried again')
    many.add_argument(
        '--engine', choices=['processes', 'ray'], default='processes', help='what runs them; for a cluster: ray'
    )
    many.add_argument('--ray-address', metavar='A', help='of a cluster; default: RAY_ADDRESS, else none')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    args = _parsed(sys.argv[1:] if arguments is None else arguments)
    status, text = _guarded(interruptible()(_one_or_many), args)
    print(text, file=sys.stdout if status in (0, Status.INCOMPLETE) else sys.stderr)
    return status


def _one_or_many(args: argparse.Namespace) -> tuple[int, str]:
    left_out = left_out_parameters(_options(args))
    if left_out:
        print(f'diffcut_analyze: {left_out}', file=sys.stderr)
    return (_many if len(args.bags) > 1 else _one)(args)


def analyze_one(arguments: Sequence[str]) -> tuple[int, str]:
    """Run the command for one recording; return its exit status and what it says."""
    return _guarded(_one, _parsed(arguments))


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.resume and args.overwrite:
        parser.error('expected one of --resume and --overwrite, received both')
    if args.jobs is not None and args.jobs < 1:
        parser.error(f'--jobs: expected at least 1, received {args.jobs}')
    if args.retries < 0:
        parser.error(f'--retries: expected at least 0, received {args.retries}')
    if args.engine != 'ray' and args.ray_address is not None:
        parser.error('--ray-address: expected --engine ray, too')
    return args


def _guarded(work: Callable[[argparse.Namespace], tuple[int, str]], args: argparse.Namespace) -> tuple[int, str]:
    """Return the exit status and the text of some work, or those of what ended it."""
    try:
        return work(args)
    except (ValueError, MemoryError) as error:
        return Status.BAD_INPUT, f'diffcut_analyze: {error}'
    except (OSError, RuntimeError) as error:
        return Status.FAILED, f'diffcut_analyze: {error}; what is done is kept: go on with --resume'
    except KeyboardInterrupt:
        return Status.INTERRUPTED, 'diffcut_analyze: interrupted; what is done is kept: go on with --resume'


def _options(args: argparse.Namespace) -> AnalysisOptions:
    return AnalysisOptions(
        params=args.params,
        node=args.node_name,
        backend=args.backend,
        tau=args.tau,
        target_segments=args.target_segments,
        image_topic=args.image_topic,
        camera_info_topic=args.camera_info_topic,
        depth_topic=args.depth_topic,
        depth=not args.no_depth,
        start_s=args.start,
        duration_s=args.duration,
        rate_hz=args.rate,
        every=args.every,
    )


def _output(args: argparse.Namespace) -> OutputOptions:
    sweep = parse_sweep(args.sweep) if args.sweep else ()
    return OutputOptions(args.with_source, args.raw_labels, args.csv, not args.no_video, sweep, not args.no_report)


def _one(args: argparse.Namespace) -> tuple[int, str]:
    output = _output(args)
    bag = args.bags[0]
    with BarOrLines(TaskProgressColumn(), TextColumn('{task.fields[rate]}')) as progress:
        task = progress.add_task(bag.name, total=1.0, rate='')
        begun: list[tuple[int, float]] = []

        def show(done: Done) -> None:
            now_s = progress.get_time()
            begun.append((done.frames, now_s)) if not begun else None
            first, first_s = begun[0]
            rate_hz = (done.frames - first) / max(1e-3, now_s - first_s)
            progress.update(task, completed=done.share, rate=f'{done.frames} images, {rate_hz:.1f} per s')

        summary = analyze_to_folder(bag, args.out, _options(args), output, args.resume, args.overwrite, show)
        progress.update(task, completed=1.0)
    return summary.status, summary.text(bag, args.out)


def _many(args: argparse.Namespace) -> tuple[int, str]:
    options, output = _options(args), _output(args)
    settings = read_settings(options)  # wrong for one, wrong for all
    if not args.csv:
        check_parquet()
    folder_names(args.bags)
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
            check_same(run, folder, bag, options, settings, output)

        def show(outcome: Outcome) -> None:
            progress.advance(task)
            progress.console.print(outcome.text, markup=False, highlight=False, soft_wrap=True)

        with engine:
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
        merge(outcomes, args.out, '.csv' if args.csv else '.parquet')
    failed = [f'{one.bag}: {one.text} (exit status {one.status})' for one in outcomes if one.status]
    if not failed:
        return 0, f'{len(outcomes)} recordings analysed, outputs in {args.out}'
    statuses = {outcome.status for outcome in outcomes}
    # Wrong input for some is a failure of those; for all, it is a wrong command.
    status = Status.BAD_INPUT if statuses == {Status.BAD_INPUT} else Status.FAILED
    if statuses - {0} == {Status.INCOMPLETE}:
        status = Status.INCOMPLETE
    return status, '\n  '.join(
        [f'diffcut_analyze: {len(failed)} of {len(outcomes)} recordings failed or are incomplete:', *failed]
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
