"""Play a bag through the node: ros2 launch diffcut_ros replay.launch.py bag:=run1.mcap image:=/camera/image_raw."""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessIO
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir

# What the node logs once it is active.
READY = 'waiting for images on'


def generate_launch_description():
    """The node's launch file on the bag's time, with RViz; takes all arguments of the former."""
    return LaunchDescription(
        [
            DeclareLaunchArgument('bag', description='Bag to play'),
            DeclareLaunchArgument('rate', default_value='1.0', description='Speed of the playback'),
            DeclareLaunchArgument('loop', default_value='false', description='true: play it again and again'),
            DeclareLaunchArgument('rviz', default_value='true', description='true: open RViz, too'),
            DeclareLaunchArgument('use_sim_time', default_value='true', description='true: time comes from the bag'),
            OpaqueFunction(function=_play_when_ready),
            IncludeLaunchDescription(PathJoinSubstitution([ThisLaunchFileDir(), 'diffcut.launch.py'])),
        ]
    )


def _play_when_ready(context):
    """Have the bag played as soon as the node is ready: loading a model takes longer than many a bag."""
    bag, rate, loop, rviz = (LaunchConfiguration(name).perform(context) for name in ('bag', 'rate', 'loop', 'rviz'))
    play = ExecuteProcess(
        cmd=['ros2', 'bag', 'play', bag, '--clock', '100', '--rate', rate, *(['--loop'] if loop == 'true' else [])],
        name='bag_play',
        output='screen',
        # With RViz, the last image stays to be looked at.
        on_exit=None if rviz == 'true' else Shutdown(reason='the bag has ended'),
    )
    if context.launch_configurations.get('log_level') in ('warn', 'error', 'fatal'):
        return [play]  # the node will not say when it is ready
    started = []

    def on_output(event):
        if started or READY.encode() not in event.text:
            return None
        started.append(True)
        return play

    return [RegisterEventHandler(OnProcessIO(on_stdout=on_output, on_stderr=on_output))]
