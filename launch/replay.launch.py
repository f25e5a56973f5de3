"""Play a bag through the node: ros2 launch diffcut_ros replay.launch.py bag:=run1.mcap image:=/camera/image_raw."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.event_handlers import OnProcessIO
from launch.substitutions import LaunchConfiguration

from diffcut_ros.launch_arguments import existing, needs_package, positive, truth
from diffcut_ros.shared_memory import PROFILES, SHARED_MEMORY, fast_dds_is_set, shared_memory_left

# A path, not a substitution, which --show-args could not follow.
NODE = str(Path(__file__).with_name('diffcut.launch.py'))
LARGE_IMAGES = str(Path(__file__).parents[1] / 'config/fastdds_large_images.xml')
# The player, the node and RViz take 64 MB each.
ENOUGH_SHARED_MEMORY = 256e6
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
            OpaqueFunction(function=_send_large_images),
            OpaqueFunction(function=_play_when_ready),
            IncludeLaunchDescription(NODE),
        ]
    )


def _send_large_images(context):
    """Have Fast DDS send images through more memory, unless somebody has chosen: both ends are started here."""
    if fast_dds_is_set():
        return []
    left = shared_memory_left()
    if left < ENOUGH_SHARED_MEMORY:
        text = f'{SHARED_MEMORY} has {left / 1e6:.0f} MB left: large images may get lost, see docs/large_images.md'
        return [LogInfo(msg=text)]
    return [SetEnvironmentVariable(name, LARGE_IMAGES) for name in PROFILES]


def _play_when_ready(context):
    """Have the bag played as soon as the node is ready: loading a model takes longer than many a bag."""
    bag, rate, loop, rviz = (LaunchConfiguration(name).perform(context) for name in ('bag', 'rate', 'loop', 'rviz'))
    needs_package('bag', 'ros2bag')
    bag, rate, loop, rviz = existing('bag', bag), positive('rate', rate), truth('loop', loop), truth('rviz', rviz)

    def on_exit(event, context):
        if context.is_shutdown:
            return None
        if event.returncode:
            raise RuntimeError(f'ros2 bag play failed with exit code {event.returncode}')
        # With RViz, the last image stays to be looked at.
        return None if rviz else Shutdown(reason='the bag has ended')

    play = ExecuteProcess(
        cmd=['ros2', 'bag', 'play', bag, '--clock', '100', '--rate', str(rate), *(['--loop'] if loop else [])],
        name='bag_play',
        output='screen',
        on_exit=on_exit,
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
