"""Start the node for several cameras: ... multi_camera.launch.py image:=front=/front/image_raw,rear=/rear/image_raw."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.substitutions import PathJoinSubstitution, ThisLaunchFileDir


def generate_launch_description():
    """The node's launch file with the parameter file for several cameras; takes all arguments of the former."""
    return LaunchDescription(
        [
            DeclareLaunchArgument('params_file', default_value='multi_camera.yaml', description='as of the node'),
            IncludeLaunchDescription(PathJoinSubstitution([ThisLaunchFileDir(), 'diffcut.launch.py'])),
        ]
    )
