"""Start the node: ros2 launch diffcut_ros diffcut.launch.py image:=/camera/color/image_raw."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

CONFIG = PathJoinSubstitution([FindPackageShare('diffcut_ros'), 'config'])
# What config/diffcut.rviz shows of the node.
SHOWN = ('overlay', 'labels', 'points', 'markers', 'segments_3d')
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
    topics = {name: _by_camera(name, value[name]) for name in ('image', 'depth', 'camera_info')}
    _check_names(topics)
    for camera, image in topics['image'].items():
        if topics['depth']:
            topics['camera_info'].setdefault(camera, f'{image.rpartition("/")[0]}/camera_info')
    cameras = [camera for camera in topics['image'] if camera]

    clock = {'use_sim_time': value['use_sim_time'].lower() == 'true'} if value['use_sim_time'] else {}
    parameters = {
        name: value[name] for name in ('backend', 'image_transport', 'depth_transport') if value[name]
    } | clock
    if cameras:
        parameters['cameras'] = cameras
    if topics['depth']:
        parameters['depth'] = True
    remappings = [
        (f'{camera}/{name}' if camera else name, topic)
        for name, by_camera in topics.items()
        for camera, topic in by_camera.items()
    ]
    if cameras:
        # RViz shows one camera at a time: the first.
        shown = [('image', topics['image'][cameras[0]])]
        shown += [(f'diffcut/{name}', f'diffcut/{cameras[0]}/{name}') for name in SHOWN]
    else:
        shown = remappings
    return [
        Node(
            package='diffcut_ros',
            executable='diffcut_node',
            name='diffcut',
            namespace=value['namespace'],
            parameters=[_params_file(context, value['params_file']), *([parameters] if parameters else [])],
            remappings=remappings,
            ros_arguments=['--log-level', value['log_level']] if value['log_level'] else None,
            output='screen',
        ),
        Node(
            package='rviz2',
            executable='rviz2',
            namespace=value['namespace'],
            arguments=['-d', PathJoinSubstitution([CONFIG, 'diffcut.rviz'])],
            parameters=[clock] if clock else None,
            remappings=shown,
            condition=IfCondition(value['rviz']),
        ),
    ]


def _params_file(context, name):
    """Return the path of a parameter file; a name without a folder is that of one of the package's, where it has it."""
    folder = Path(CONFIG.perform(context))
    path = folder / name if name == Path(name).name and (folder / name).is_file() else Path(name).expanduser()
    if not path.is_file():
        known = ', '.join(sorted(file.name for file in folder.glob('*.yaml')))
        raise RuntimeError(f'params_file: expected a file, or one of {known}; received {name!r}, which is not there')
    return str(path)


def _by_camera(name, text):
    """Return camera name -> topic; a topic alone is that of the one camera without a name."""
    if '=' not in text:
        return {'': text} if text else {}
    pairs = [pair.partition('=') for pair in text.split(',')]
    if not all(camera and topic for camera, _, topic in pairs):
        raise RuntimeError(f'{name}: expected TOPIC or NAME=TOPIC,NAME=TOPIC, received {text!r}')
    return {camera: topic for camera, _, topic in pairs}


def _check_names(topics):
    """Refuse depth or camera_info of cameras that image does not name."""
    images = list(topics['image']) or ['']
    for name in ('depth', 'camera_info'):
        complete = list(topics[name]) == images if name == 'depth' else set(topics[name]) <= set(images)
        if topics[name] and not complete:
            raise RuntimeError(f'{name}: expected topics for the cameras of image {images}, received {topics[name]}')
