"""What pyproject.toml cannot say: the version and the like, from package.xml, and what ROS tools look for in share/."""

from glob import glob
from xml.etree import ElementTree

from setuptools import setup

package = ElementTree.parse('package.xml').getroot()
maintainer = package.find('maintainer')
name = package.findtext('name')

setup(
    version=package.findtext('version'),
    description=package.findtext('description'),
    license=package.findtext('license'),
    maintainer=maintainer.text,
    maintainer_email=maintainer.get('email'),
    # Not in pyproject.toml: setuptools would make an object of it, and colcon reads only what is written as a literal.
    python_requires='>=3.11',
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{name}']),
        # pyproject.toml, because `colcon build --symlink-install` runs this file in a folder with nothing else in it
        # than setup.cfg, the code and the data files.
        (f'share/{name}', ['package.xml', 'pyproject.toml']),
        (f'share/{name}/launch', glob('launch/*.launch.py')),
        (f'share/{name}/config', [path for kind in ('yaml', 'rviz', 'xml') for path in glob(f'config/*.{kind}')]),
    ],
)
