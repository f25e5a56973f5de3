"""The command line of `diffcut_node`."""

import argparse
from collections.abc import Sequence

from diffcut_ros.arguments.parser import Parser, without_ros_arguments


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options that a command line gives, without those of ROS; ends the program where it is wrong."""
    parser = Parser(
        'diffcut_node',
        description='Cuts camera images into segments and publishes them.',
        epilog='Everything else is a ROS argument: diffcut_node --ros-args -r image:=/camera/image_raw -p tau:=0.7',
    )
    return parser.parse_args(without_ros_arguments(arguments))
