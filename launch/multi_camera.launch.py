"""Start the node for several cameras: ... multi_camera.launch.py image:=front=/front/image_raw,rear=/rear/image_raw."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.substitutions import PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.substitutions import FindPackageShare


def generate_launch_description():
    """The node's launch file with the parameter file for several cameras; takes all arguments of the former."""
    params_file = PathJoinSubstitution([FindPackageShare('diffcut_ros'), 'config', 'multi_camera.yaml'])
    return LaunchDescription(
        [
            DeclareLaunchArgument('params_file', default_value=params_file, description='YAML file with parameters'),
            IncludeLaunchDescription(PathJoinSubstitution([ThisLaunchFileDir(), 'diffcut.launch.py'])),
        ]
    )
