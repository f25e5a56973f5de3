"""Start the node: ros2 launch diffcut_ros diffcut.launch.py image:=/camera/color/image_raw."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def generate_launch_description():
    """Declare the arguments; the node's defaults stand in the node alone."""
    share = FindPackageShare('diffcut_ros')
    return LaunchDescription(
        [
            DeclareLaunchArgument('image', default_value='image', description='Camera topic, sensor_msgs/Image'),
            DeclareLaunchArgument(
                'params_file',
                default_value=PathJoinSubstitution([share, 'config', 'diffcut.yaml']),
                description='YAML file with parameters of the node',
            ),
            DeclareLaunchArgument(
                'backend', default_value='', description="Feature extractor; empty = the parameter file's"
            ),
            DeclareLaunchArgument('namespace', default_value='', description='Namespace of the node'),
            OpaqueFunction(function=_node),
        ]
    )


def _node(context):
    backend = LaunchConfiguration('backend').perform(context)
    return [
        Node(
            package='diffcut_ros',
            executable='diffcut_node',
            name='diffcut',
            namespace=LaunchConfiguration('namespace'),
            parameters=[LaunchConfiguration('params_file'), *([{'backend': backend}] if backend else [])],
            remappings=[('image', LaunchConfiguration('image'))],
            output='screen',
        )
    ]
