"""Packages that only some parts need: what to install when one of them is not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

# Name to import -> name to install, and the extras of pyproject.toml that bring it.
OPTIONAL = {
    'av': ('av', 'analyze'),
    'diffusers': ('diffusers', 'diffusion'),
    'huggingface_hub': ('huggingface-hub', 'diffusion'),
    'jinja2': ('jinja2', 'analyze'),
    'lz4': ('lz4', 'analyze', 'view'),
    'mcap': ('mcap', 'analyze', 'view'),
    'PIL': ('pillow', 'analyze', 'evaluate'),
    'plotly': ('plotly', 'analyze', 'evaluate'),
    'pyarrow': ('pyarrow', 'analyze'),
    'ray': ('ray', 'ray'),
    'rerun': ('rerun-sdk', 'view'),
    'rich': ('rich', 'analyze', 'evaluate'),
    'rosbags': ('rosbags', 'analyze', 'view'),
    'rosbags.image': ('rosbags-image', 'analyze'),
    'ruamel': ('ruamel.yaml', 'analyze', 'view'),
    'ruamel.yaml': ('ruamel.yaml', 'analyze', 'view'),
    'safetensors': ('safetensors', 'diffusion'),
    'skimage': ('scikit-image', 'evaluate'),
    'sklearn': ('scikit-learn', 'analyze', 'evaluate'),
    'starlette': ('starlette', 'teach'),
    'uvicorn': ('uvicorn', 'teach'),
    'yaml': ('pyyaml', 'analyze'),
    'zstandard': ('zstandard', 'analyze', 'view'),
    'transformers': ('transformers', 'diffusion'),
}
# Extras that bring another one, too.
INCLUDES = {'teach': 'analyze'}
# What package.xml names of ROS.
ROS = {
    'ament_index_python',
    'cv_bridge',
    'diagnostic_msgs',
    'geometry_msgs',
    'lifecycle_msgs',
    'message_filters',
    'rcl_interfaces',
    'rclpy',
    'sensor_msgs',
    'std_msgs',
    'std_srvs',
    'tf2_msgs',
    'tf2_ros',
    'vision_msgs',
    'visualization_msgs',
}


class MissingPackageError(ValueError):
    """A package is not installed; the text, one line, says which and how to get it."""


@contextmanager
def needed(purpose: str, extra: str, instead: str = '') -> Iterator[None]:
    """Import packages inside, or what imports them.

    Errors of packages that are there, such as a module that one of them lacks, are raised as they are.

    Args:
        purpose: what needs them.
        extra: the one to install, among those that have the package.
        instead: what else to do, such as an option that does without.

    Raises:
        MissingPackageError: when one of `OPTIONAL` or `ROS` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = error.name if error.name in OPTIONAL else str(error.name).partition('.')[0]
        if name not in {*OPTIONAL, *ROS} or find_spec(name):
            raise
        if name in ROS:
            advice = (
                f'a ROS 2 environment with the package {name}, found none. Next: source /opt/ros/DISTRO/setup.bash or '
                'install/setup.bash of your workspace (rosdep install brings what it lacks); or a checkout: make setup'
            )
        else:
            package, *extras = OPTIONAL[name]
            brings = extra in extras or INCLUDES.get(extra) in extras
            advice = (
                f'the package {package}, found none. Next: '
                f"pip install 'diffcut_ros[{extra if brings else extras[0]}]'"
                f'; beside the packages of a ROS distribution: pip install {package}'
            )
        raise MissingPackageError(f'{purpose}: expected {advice}{instead and f", or {instead}"}') from error
