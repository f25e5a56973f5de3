"""package.xml names all that the package needs of a distribution, by the keys of rosdep."""

import ast
import re
import sys
from xml.etree import ElementTree

import pytest

from diffcut_ros.missing import OPTIONAL
from support.checkout import ROOT

PACKAGE = ElementTree.parse(ROOT / 'package.xml').getroot()
# Name to import -> key, where they differ. ROS packages have the name of what they hold.
KEYS = {
    'cv2': 'python3-opencv',
    'jinja2': 'python3-jinja2',
    'numba': 'python3-numba',
    'numpy': 'python3-numpy',
    'PIL': 'python3-pil',
    'psutil': 'python3-psutil',
    'pytest': 'python3-pytest',
    'rich': 'python3-rich',
    'ruamel': 'python3-ruamel.yaml',
    'scipy': 'python3-scipy',
    'skimage': 'python3-skimage',
    'sklearn': 'python3-sklearn',
    'tf2_ros': 'tf2_ros_py',
    'torch': 'python3-torch',
    'yaml': 'python3-yaml',
}
# ROS packages that are used where they are installed; who needs them, such as Nav2 or Hydra, brings them.
IF_THERE = {'bond', 'foxglove_msgs', 'semantic_inference_msgs'}
# In rosdep's list there is none for these, or only one that calls pip.
WITHOUT_KEY = {
    *('av', 'diffusers', 'huggingface_hub', 'lz4', 'mcap', 'plotly', 'pyarrow', 'ray', 'rerun', 'rosbags'),
    *('safetensors', 'starlette', 'transformers', 'uvicorn', 'zstandard'),
}
FILES = {path.stem for folder in ('test', 'env') for path in (ROOT / folder).rglob('*.py')}
OWN = {'diffcut_ros', 'support', *FILES, *IF_THERE, 'rerun_cli', *sys.stdlib_module_names}  # rerun_cli comes with rerun


def named(*kinds: str) -> list[str]:
    return [element.text for kind in kinds for element in PACKAGE.findall(kind)]


def imported(folder: str) -> set[str]:
    """Return the first parts of the names that the files of a folder import, wherever in them."""
    names = set()
    for path in (ROOT / folder).rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition('.')[0])
    return names - OWN


@pytest.mark.parametrize('folder', ['diffcut_ros', 'launch', 'test'])
def test_every_import_has_a_key(folder):
    keys = named('exec_depend') if folder != 'test' else named('exec_depend', 'test_depend')
    without = WITHOUT_KEY | {'playwright'} if folder == 'test' else WITHOUT_KEY  # skipped without a browser
    missing = {name for name in imported(folder) - without if KEYS.get(name, name) not in keys}
    assert not missing


def test_what_has_no_key_is_told_by_the_command_that_lacks_it():
    assert set(OPTIONAL) >= WITHOUT_KEY
    assert not WITHOUT_KEY & set(KEYS)
    assert imported('diffcut_ros') >= WITHOUT_KEY


def test_what_launch_files_start_and_rviz_shows_has_a_key():
    source = ''.join(path.read_text() for path in (ROOT / 'launch').glob('*.py'))
    started = set(re.findall(r"package='(\w+)'", source)) | set(re.findall(r"needs_package\('\w+', '(\w+)'", source))
    shown = set(re.findall(r'Class: (\w+)/', (ROOT / 'config/diffcut.rviz').read_text()))
    assert started == {'diffcut_ros', 'ros2bag', 'rviz2'}
    assert {'rviz_default_plugins', 'vision_msgs_rviz_plugins'} <= shown
    assert (started | shown) - {'diffcut_ros', 'rviz_common'} <= set(named('exec_depend'))  # rviz2 brings rviz_common


def test_no_key_calls_pip_or_is_there_twice():
    keys = named('exec_depend', 'test_depend')
    assert not [key for key in keys if key.endswith('-pip')]
    assert len(keys) == len(set(keys))
