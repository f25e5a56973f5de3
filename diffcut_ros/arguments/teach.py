"""The command line of `diffcut_teach`."""

import argparse
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from diffcut_ros.arguments.parser import TAU, Parser, number, whole

_PORT, LOOPBACK = 8765, '127.0.0.1'
_FRAMES, _SECONDS = 30, 10.0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options that a command line gives; ends the program where it is wrong."""
    parser = Parser(
        'diffcut_teach',
        description='Opens a page on which a recording learns names: click on things, type what they are, and see at '
        'once what the rest of the recording is called. The result is a file of classes, for the node and '
        'diffcut_analyze. No network is needed.',
        epilog='Exit status: 0 ended by Ctrl-C while the page was served; 1 failed; 2 wrong arguments or input; 130 '
        'interrupted before.',
    )
    parser.add_argument(
        'recording', nargs='?', type=Path, metavar='RECORDING', help='a bag: folder, .mcap, .db3 or .bag'
    )
    parser.add_argument(
        '--node',
        metavar='NAME',
        help='instead of a recording: the last images of a node that runs, such as /diffcut, with its parameters',
    )
    parser.add_argument('--camera', metavar='NAME', help='with --node: name of the camera, for a node with several')
    parser.add_argument(
        '--seconds',
        type=number(0.1, 3600),
        default=_SECONDS,
        metavar='S',
        help=f'with --node: how long images are collected before the page opens; default: {_SECONDS}',
    )
    parser.add_argument(
        '--classes',
        type=Path,
        metavar='FILE',
        help="the file of classes, made where there is none; default: that of the parameter file, else the recording's "
        'name with _classes.yaml in the working folder',
    )
    parser.add_argument('--params', type=Path, metavar='FILE', help="the node's parameter file")
    parser.add_argument('--node-name', metavar='NAME', help='full name of the node in it; default: /diffcut')
    parser.add_argument('--backend', metavar='NAME', help='feature extractor; replaces that of the parameter file')
    parser.add_argument('--tau', type=TAU, help='threshold of the splits; replaces that of the file')
    parser.add_argument('--image-topic', metavar='TOPIC', help='default: found by type and name')
    parser.add_argument(
        '--frames',
        type=whole(1, 500),
        default=_FRAMES,
        metavar='N',
        help=f'that are shown to begin with, chosen to differ from each other; default: {_FRAMES}',
    )
    parser.add_argument(
        '--port', type=whole(1, 65535), default=_PORT, help=f'or the next one that is free; default: {_PORT}'
    )
    parser.add_argument(
        '--address',
        type=_address,
        default=LOOPBACK,
        help=f'to listen on; default: {LOOPBACK}, which this machine alone reaches. Whoever reaches another one sees '
        'the images and can change the names: there is no password',
    )
    args = parser.parse_args(arguments)
    if (args.recording is None) == (args.node is None):
        parser.error(f'expected a RECORDING or --node NAME, received {"none" if args.node is None else "both"}')
    own = [f'--{name.replace("_", "-")}' for name in ('params', 'node_name') if getattr(args, name) is not None]
    if args.node is not None and own:
        parser.error(f'expected --node without {own[0]}: the parameters are those of the node')
    if args.node is None and args.camera is not None:
        parser.error('expected --camera with --node, received a RECORDING: choose there with --image-topic')
    return args


def beginning(args: argparse.Namespace) -> str:
    """Return what is told before the program is imported: with a node, nothing else is to be seen for a while."""
    if args.node is None:
        return ''
    node = '/' + args.node.strip('/')
    return f'diffcut_teach: collecting images of {node} for {args.seconds:g} s, once its parameters are read ...'


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f'expected an IP address, such as 0.0.0.0, received {text!r}') from None
