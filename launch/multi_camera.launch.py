"""Start the node for several cameras: ... multi_camera.launch.py image:=front=/front/image_raw,rear=/rear/image_raw."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription

# A path, not a substitution, which --show-args could not follow.
NODE = str(Path(__file__).with_name('diffcut.launch.py'))


def generate_launch_description():
    """The node's launch file with the parameter file for several cameras; takes all arguments of the former."""
    return LaunchDescription(
        [
            DeclareLaunchArgument('params_file', default_value='multi_camera.yaml', description='as of the node'),
            IncludeLaunchDescription(NODE),
        ]
    )
