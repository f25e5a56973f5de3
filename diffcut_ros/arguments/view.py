"""The command line of `diffcut_view`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from diffcut_ros.arguments.parser import Parser, number, whole, without_ros_arguments

_PORT = 9090
_RATE_HZ = 5.0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options that a command line gives, without those of ROS; ends the program where it is wrong."""
    parser = Parser(
        'diffcut_view',
        description='Shows in a browser what a node publishes, or what it published into a bag.',
    )
    parser.add_argument('--node', default='/diffcut', help='full name of the node (default /diffcut)')
    parser.add_argument('--camera', default='', help='name of the camera, for a node with several')
    parser.add_argument('--image', default='', help="camera topic (default: the node's image, else the only one there)")
    parser.add_argument('--bag', type=Path, help='recording (MCAP or SQLite) with outputs of the node, instead of live')
    parser.add_argument('--save', type=Path, metavar='FILE.rrd', help='write a recording for rerun, without a browser')
    parser.add_argument('--boxes', action='store_true', help='show the boxes of segments, too, not only outlines')
    parser.add_argument(
        '--rate',
        type=number(0, 1000),
        metavar='HZ',
        help=f'images per second at most, by their stamps; 0 = all (default {_RATE_HZ:g}, which a browser without a '
        'graphics card can show; with --save: all)',
    )
    parser.add_argument(
        '--max-size',
        type=whole(0, 65535),
        default=0,
        metavar='PX',
        help='shrink images and labels whose longer side is longer than that; 0 = never (default 0)',
    )
    parser.add_argument(
        '--port',
        type=whole(1, 65534),
        default=_PORT,
        help=f'of the page, data are on the next one (default {_PORT})',
    )
    args = parser.parse_args(without_ros_arguments(arguments))
    if args.rate is None:
        args.rate = 0.0 if args.save else _RATE_HZ
    return args
