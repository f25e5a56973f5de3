"""The command line of `diffcut_analyze`."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from diffcut_ros.arguments.parser import LONGEST_S, TAU, Parser, number, whole

# More take longer than they tell.
_MOST_VALUES = 200


def _parser() -> Parser:
    parser = Parser(
        'diffcut_analyze',
        description='Segment the camera images of recordings: ROS 1 (.bag), ROS 2 (folder, .mcap, .db3).',
        epilog='Exit status: 0 all done; 1 failed, of several recordings at least one; 2 wrong arguments or input; 3 '
        'done, but part of the input could not be read, or most images had no depth; 130 interrupted.',
    )
    parser.add_argument('bags', nargs='+', type=Path, metavar='BAG', help='recordings')
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder of the outputs')
    which = parser.add_argument_group('which images')
    which.add_argument('--image-topic', metavar='TOPIC', help='camera, raw or compressed; found by type and name')
    which.add_argument('--camera-info-topic', metavar='TOPIC', help='found likewise, where there is depth')
    which.add_argument('--depth-topic', metavar='TOPIC', help='depth, raw or compressed, found likewise')
    which.add_argument('--no-depth', action='store_true', help='take images without depth, too; no segments in space')
    which.add_argument(
        '--start', type=number(0, LONGEST_S), metavar='S', help='begin so many seconds after the first image'
    )
    which.add_argument(
        '--duration',
        type=number(0, LONGEST_S, above=True),
        metavar='S',
        help='analyse so many seconds; default: to the end',
    )
    which.add_argument(
        '--rate',
        type=number(0, 1000),
        metavar='HZ',
        help='images per second at most, 0: all; default: rate_hz of the file, else all',
    )
    which.add_argument('--every', type=whole(1), metavar='N', help='take each n-th image')
    how = parser.add_argument_group('how')
    how.add_argument('--params', type=Path, metavar='FILE', help="the node's parameter file")
    how.add_argument('--node-name', metavar='NAME', help='full name of the node in it; default: /diffcut')
    how.add_argument('--backend', metavar='NAME', help='feature extractor; replaces that of the file')
    how.add_argument('--tau', type=TAU, help='threshold of the splits; replaces that of the file')
    how.add_argument(
        '--depth-scale',
        type=number(0.001, 100),
        metavar='MM',
        help='millimetres per count of depth of 16 bits; replaces that of the file',
    )
    how.add_argument(
        '--target-frame',
        metavar='FRAME',
        help="frame that places are given in, by the recording's /tf, such as map; replaces that of the file",
    )
    how.add_argument(
        '--target-segments',
        type=whole(0, 1000),
        metavar='N',
        help='at most so many segments, 0: by tau; replaces that of the file',
    )
    how.add_argument(
        '--classes',
        type=Path,
        metavar='FILE',
        help='names by example: file of classes; replaces that of the file',
    )
    what = parser.add_argument_group('outputs')
    what.add_argument(
        '--with-source', action='store_true', help='copy the input topics, /tf and /tf_static into segments.mcap'
    )
    what.add_argument('--raw-labels', action='store_true', help='label images as they are, not as PNG')
    what.add_argument('--csv', action='store_true', help='tables as CSV, not as Parquet')
    what.add_argument(
        '--sweep',
        metavar='tau=FIRST:LAST:STEP',
        help='numbers of segments of the cut, before instances makes parts of them, and their stability for these '
        'values of tau, from the hierarchies; also for an analysis that is complete, with --resume',
    )
    what.add_argument(
        '--hierarchy-tau',
        type=TAU,
        metavar='TAU',
        help='store hierarchies up to this tau at least, 0: only as far as they are needed; default: 0.9, as the '
        "report's slider",
    )
    what.add_argument(
        '--color-by',
        choices=['track', 'class'],
        help='colours of overlay.mp4, and of report.html until its switch is turned; default: class with --classes',
    )
    what.add_argument(
        '--objects',
        action='store_true',
        help='a map of objects, with --target-frame: things, each meant to be there once, as the table objects, as '
        'points in objects.ply, as pictures, in segments.mcap and in the report',
    )
    what.add_argument('--no-video', action='store_true', help='without overlay.mp4, which takes time')
    what.add_argument('--no-report', action='store_true', help='leave report.html out')
    what.add_argument('--resume', action='store_true', help='go on with an analysis that was interrupted')
    what.add_argument('--overwrite', action='store_true', help='replace the outputs of an earlier analysis')
    many = parser.add_argument_group('several recordings')
    many.add_argument(
        '--jobs',
        type=whole(1),
        metavar='N',
        help='so many at a time; default: 1, with Ray as many as there is room for',
    )
    many.add_argument(
        '--retries', type=whole(0), default=2, metavar='N', help='how often one that fails is tried again; default: 2'
    )
    many.add_argument(
        '--engine', choices=['processes', 'ray'], default='processes', help='what runs them; for a cluster: ray'
    )
    many.add_argument('--ray-address', metavar='A', help='of a cluster; default: RAY_ADDRESS, else none')
    return parser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options that a command line gives; ends the program where it is wrong."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.resume and args.overwrite:
        parser.error('expected one of --resume and --overwrite, received both')
    if args.engine != 'ray' and args.ray_address is not None:
        parser.error('--ray-address: expected --engine ray, too')
    if args.no_depth and args.depth_topic is not None:
        parser.error(f'expected one of --no-depth and --depth-topic, received both ({args.depth_topic})')
    if args.sweep:
        try:
            parse_sweep(args.sweep)
        except ValueError as error:
            parser.error(f'--{error}')
    return args


def parse_sweep(text: str) -> tuple[float, ...]:
    """Return the values of tau that `tau=FIRST:LAST:STEP` stands for, LAST included where a step meets it.

    Raises:
        ValueError: for another form, values out of range, and more than 200 of them.
    """
    expected = 'expected tau=FIRST:LAST:STEP with 0 < FIRST <= LAST <= 1 and STEP > 0, such as tau=0.2:0.9:0.05'
    decimal = r'(\d*\.?\d+)'
    found = re.fullmatch(rf'tau={decimal}:{decimal}:{decimal}', text)
    if not found:
        raise ValueError(f'sweep: {expected}, received {text}')
    first, last, step = map(float, found.groups())
    if not (0 < first <= last <= 1 and step > 0):
        raise ValueError(f'sweep: {expected}, received {text}')
    # A step that meets LAST but for rounding counts.
    count = int(min((last - first) / step, 1e9) + 1e-9) + 1
    if count > _MOST_VALUES:
        raise ValueError(f'sweep: expected at most {_MOST_VALUES} values, received {count}: {text}')
    return tuple(round(first + index * step, 9) for index in range(count))
