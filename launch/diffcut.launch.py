"""Start the node: ros2 launch diffcut_ros diffcut.launch.py image:=/camera/color/image_raw."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from diffcut_ros.launch_arguments import RVIZ_TOPICS, log_level, needs_package, parameters_for, topics_by_camera, truth

CONFIG = PathJoinSubstitution([FindPackageShare('diffcut_ros'), 'config'])
# Several cameras are NAME=TOPIC,NAME=TOPIC; then each has its topics under its name.
ARGUMENTS = [
    DeclareLaunchArgument(
        'image', default_value='', description='Camera topic, sensor_msgs/Image; several cameras: NAME=TOPIC,NAME=TOPIC'
    ),
    DeclareLaunchArgument(
        'depth', default_value='', description='Depth topic, written like image; turns the parameter depth on'
    ),
    DeclareLaunchArgument(
        'camera_info', default_value='', description="CameraInfo topic, written like image; empty = beside each image's"
    ),
    DeclareLaunchArgument(
        'params_file',
        default_value='diffcut.yaml',
        description="Parameters of the node: a YAML file, or the name of one of the package's, such as gpu.yaml",
    ),
    DeclareLaunchArgument('backend', default_value='', description="Feature extractor; empty = the parameter file's"),
    DeclareLaunchArgument(
        'image_transport', default_value='', description="raw or compressed; empty = the parameter file's"
    ),
    DeclareLaunchArgument(
        'depth_transport',
        default_value='',
        description="raw, compressedDepth or compressed; empty = the parameter file's",
    ),
    DeclareLaunchArgument(
        'target_frame',
        default_value='',
        description="Frame that places are given in, such as map, needs depth; empty = the parameter file's",
    ),
    DeclareLaunchArgument('namespace', default_value='', description='Namespace of the node'),
    DeclareLaunchArgument(
        'use_sim_time', default_value='', description="true: time comes from /clock; empty = the parameter file's"
    ),
    DeclareLaunchArgument('rviz', default_value='false', description='true: open RViz, too'),
    DeclareLaunchArgument('log_level', default_value='', description='debug, info, warn, error or fatal'),
]


def generate_launch_description():
    """Declare the arguments; the node's defaults stand in the node alone."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_nodes)])


def _nodes(context):
    value = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    file = _params_file(context, value['params_file'])
    namespace = prefix_namespace(context.launch_configurations.get('ros_namespace'), value['namespace'])
    given = parameters_for(f'{make_namespace_absolute(namespace or "").rstrip("/")}/diffcut', file)
    topics = topics_by_camera({name: value[name] for name in ('image', 'depth', 'camera_info')}, given.get('cameras'))
    for camera, image in topics['image'].items():
        topics['camera_info'].setdefault(camera, f'{image.rpartition("/")[0]}/camera_info')
    cameras = [camera for camera in topics['image'] or given.get('cameras', []) if camera]

    clock = {'use_sim_time': truth('use_sim_time', value['use_sim_time'])} if value['use_sim_time'] else {}
    parameters = {
        name: value[name] for name in ('backend', 'image_transport', 'depth_transport', 'target_frame') if value[name]
    } | clock
    if cameras:
        parameters['cameras'] = cameras
    if topics['depth']:
        parameters['depth'] = True
    told = []
    if value['depth_transport'] and not (given | parameters).get('depth'):
        told.append(LogInfo(msg='depth_transport: not used without depth; add depth:=TOPIC'))
    remappings = [
        (f'{camera}/{name}' if camera else name, topic)
        for name, by_camera in topics.items()
        for camera, topic in by_camera.items()
    ]
    if cameras:
        # RViz shows one camera at a time: the first.
        shown = [('image', topics['image'].get(cameras[0], f'{cameras[0]}/image'))]
        shown += [(f'diffcut/{name}', f'diffcut/{cameras[0]}/{name}') for name in RVIZ_TOPICS]
    else:
        shown = remappings
    node = Node(
        package='diffcut_ros',
        executable='diffcut_node',
        name='diffcut',
        namespace=value['namespace'],
        parameters=[str(file), *([parameters] if parameters else [])],
        remappings=remappings,
        ros_arguments=['--log-level', log_level(value['log_level'])] if value['log_level'] else None,
        output='screen',
    )
    if not truth('rviz', value['rviz']):
        return [*told, node]
    needs_package('rviz', 'rviz2', 'rviz:=false')
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        namespace=value['namespace'],
        arguments=['-d', PathJoinSubstitution([CONFIG, 'diffcut.rviz'])],
        parameters=[clock] if clock else None,
        remappings=shown,
    )
    # The node last: where starting something fails after it, launch ends and leaves it running.
    return [*told, rviz, node]


def _params_file(context, name):
    """Return the path of a parameter file; a name without a folder is that of one of the package's, where it has it."""
    folder = Path(CONFIG.perform(context))
    path = folder / name if name == Path(name).name and (folder / name).is_file() else Path(name).expanduser()
    if not path.is_file():
        known = ', '.join(sorted(file.name for file in folder.glob('*.yaml')))
        raise ValueError(f'params_file: expected a file, or one of {known}; received {name!r}, which is not there')
    return path
