"""The command `diffcut_analyze`: segments of recordings, without ROS running."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from diffcut_ros.replay.many import Outcome, analyze_many, failures
from diffcut_ros.replay.run import OutputOptions, Summary, analyze_to_folder
from diffcut_ros.replay.run import Progress as Done
from diffcut_ros.replay.settings import AnalysisOptions
from diffcut_ros.replay.sweep import parse_sweep

# Exit statuses beside 0: something failed, wrong input (as of argparse), part of the input could not be read.
_FAILED, _BAD_INPUT, _INCOMPLETE, _INTERRUPTED = 1, 2, 3, 130


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
    what.add_argument('--jobs', type=int, default=1, metavar='N', help='of several recordings, so many at a time')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    args = parser.parse_args(given)
    if args.resume and args.overwrite:
        parser.error('expected one of --resume and --overwrite, received both')
    if args.jobs < 1:
        parser.error(f'--jobs: expected at least 1, received {args.jobs}')
    try:
        if len(args.bags) > 1:
            return _many(args)
        return _one(args)
    except (ValueError, MemoryError) as error:
        print(f'diffcut_analyze: {error}', file=sys.stderr)
        return _BAD_INPUT
    except (OSError, RuntimeError) as error:
        print(f'diffcut_analyze: {error}; what is done is kept: go on with --resume', file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print('diffcut_analyze: interrupted; what is done is kept: go on with --resume', file=sys.stderr)
        return _INTERRUPTED


def _one(args: argparse.Namespace) -> int:
    options = AnalysisOptions(
        params=args.params,
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
    sweep = parse_sweep(args.sweep) if args.sweep else ()
    output = OutputOptions(args.with_source, args.raw_labels, args.csv, not args.no_video, sweep, not args.no_report)
    bag = args.bags[0]
    with _progress('{task.fields[rate]}') as progress:
        task = progress.add_task(bag.name, total=1.0, rate='')
        begun: list[tuple[int, float]] = []

        def show(done: Done) -> None:
            now_s = progress.get_time()
            begun.append((done.frames, now_s)) if not begun else None
            first, first_s = begun[0]
            rate_hz = (done.frames - first) / max(1e-3, now_s - first_s)
            progress.update(task, completed=done.share, rate=f'{done.frames} images, {rate_hz:.1f} per s')

        summary = analyze_to_folder(bag, args.out, options, output, args.resume, args.overwrite, show)
        progress.update(task, completed=1.0)
    print(_text(bag, args.out, summary))
    return 0 if summary.complete else _INCOMPLETE


def _text(bag: Path, out: Path, summary: Summary) -> str:
    parts = [f'{bag}: {summary.frames} of {summary.images} images segmented, outputs in {out}']
    if summary.problems:
        parts.append(f'{summary.problems} images or messages left out, see the table problems')
    if summary.lost:
        parts.append(f'could not read {summary.lost}')
    if summary.warning:
        parts.append(f'warning: {summary.warning}')
    return '; '.join(parts)


def _many(args: argparse.Namespace) -> int:
    with _progress('{task.completed} of {task.total}') as progress:
        task = progress.add_task('recordings', total=len(args.bags))

        def show(outcome: Outcome) -> None:
            progress.advance(task)
            progress.console.print(outcome.text, markup=False, highlight=False, soft_wrap=True)

        outcomes = analyze_many(args.bags, args.out, _arguments_of_each(args), args.jobs, show)
    failed = list(failures(outcomes))
    if failed:
        print(f'diffcut_analyze: {len(failed)} of {len(args.bags)} recordings:', *failed, sep='\n  ', file=sys.stderr)
    statuses = {outcome.status for outcome in outcomes} - {0}
    return _INCOMPLETE if statuses == {_INCOMPLETE} else _FAILED if statuses else 0


def _arguments_of_each(args: argparse.Namespace) -> list[str]:
    """Return the arguments of the command for one of several recordings."""
    arguments = []
    for name, value in vars(args).items():
        if name in ('bags', 'out', 'jobs') or value is None or value is False:
            continue
        arguments.append(f'--{name.replace("_", "-")}')
        if value is not True:
            arguments[-1] += f'={value}'
    return arguments


def _progress(text: str) -> Progress:
    console = Console(stderr=True)
    columns = TextColumn('{task.description}'), BarColumn(), TextColumn(text), TimeRemainingColumn()
    # In a file or a pipe, bars are noise.
    return Progress(*columns, console=console, disable=not console.is_terminal)


if __name__ == '__main__':
    sys.exit(main())
