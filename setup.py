"""Installs the package as `colcon build` expects it: code, executables, launch files, parameter files, marker."""

from glob import glob

from setuptools import find_packages, setup

package_name = 'diffcut_ros'

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(include=[package_name, f'{package_name}.*']),
    package_data={f'{package_name}.analysis.report': ['*.html', '*.css', '*.js']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{package_name}']),
        (f'share/{package_name}', ['package.xml']),
        (f'share/{package_name}/launch', glob('launch/*.launch.py')),
        (f'share/{package_name}/config', glob('config/*.yaml') + glob('config/*.rviz')),
    ],
    # Run-time dependencies are declared once, in package.xml; off a robot `make setup` installs pinned versions.
    install_requires=['setuptools'],
    zip_safe=True,
    python_requires='>=3.11',
    maintainer='diffcut_ros maintainers',
    maintainer_email='maintainers@diffcut-ros.example',
    description='Zero-shot image segmentation (DiffCut) as a ROS 2 node.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'diffcut_node = diffcut_ros.node.diffcut_node:main',
            'diffcut_demo = diffcut_ros.node.demo.main:main',
            'diffcut_view = diffcut_ros.node.view.main:main',
            'diffcut_analyze = diffcut_ros.analysis.main:main',
            'diffcut_export = diffcut_ros.features.diffusion.export:main',
            'diffcut_evaluate = diffcut_ros.evaluation.evaluate:main',
            'diffcut_benchmark = diffcut_ros.benchmarks.main:main',
        ],
    },
)
