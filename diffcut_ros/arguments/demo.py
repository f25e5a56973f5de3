"""The command line of `diffcut_demo`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from diffcut_ros.arguments.parser import Parser, number


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options that a command line gives; ends the program where it is wrong."""
    parser = Parser(
        'diffcut_demo',
        description='Runs node and virtual camera, shows what comes out and keeps pictures of it.',
        epilog='With images of your own: diffcut_demo my.jpg, diffcut_demo my.mp4, diffcut_demo folder_of_photographs/',
    )
    parser.add_argument(
        'images',
        type=Path,
        nargs='*',
        metavar='IMAGE',
        help='what the camera shows: photographs of your own, folders of them, or a video (default: photographs that '
        'come along)',
    )
    parser.add_argument(
        '--seconds',
        type=number(0, 86400, above=True),
        default=20.0,
        help='length, from the first labels on (default 20)',
    )
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        help='folder for pictures and video (default demo_output, or a folder in it: depth, or one named after IMAGE)',
    )
    parser.add_argument('--depth', action='store_true', help='a photograph with real depth: segments in space, too')
    args = parser.parse_args(arguments)
    if args.depth and args.images:
        parser.error(f'--depth: expected no images of your own, which have none, received {args.images[0]}')
    return args
