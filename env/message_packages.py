"""Generates ROS packages of messages from their field lists, and says how to build them, for `make setup`."""

import os
import shutil
from pathlib import Path

PACKAGE_XML = """\
<package format="3">
  <name>{name}</name>
  <version>{version}</version>
  <description>Generated from field lists, for an environment without the released package.</description>
  <maintainer email="maintainers@diffcut-ros.example">diffcut_ros maintainers</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  {depends}
  <exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export>
    <build_type>ament_cmake</build_type>
  </export>
</package>
"""


def messages(field_lists: Path) -> dict[str, list[str]]:
    """Message name -> its fields, each "type name", in order. Lines look like `Point2D: float64 x | float64 y`."""
    lines = (line.partition('#')[0].strip() for line in field_lists.read_text().splitlines())
    named = (line.partition(':') for line in lines if line)
    return {name: [field.strip() for field in fields.split('|')] for name, _, fields in named}


def dependencies(field_lists: Path) -> list[str]:
    """The other packages whose messages are fields of these."""
    fields = (field for fields in messages(field_lists).values() for field in fields)
    return sorted({field.partition('/')[0] for field in fields if '/' in field} - {field_lists.stem})


def commands(
    field_lists: Path, folder: Path, venv: Path, site_packages: Path, version: str, prefix: Path | None = None
) -> list[list[str | Path]]:
    """Writes the package's source into `folder`, made anew; returns the commands that build and install it.

    Its name is that of the field lists' file. It is built in `venv`, and installed there or into `prefix`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / 'source/msg').mkdir(parents=True)
    others = dependencies(field_lists)
    depends = '\n  '.join(f'<depend>{name}</depend>' for name in others)
    manifest = PACKAGE_XML.format(name=field_lists.stem, version=version, depends=depends)
    (folder / 'source/package.xml').write_text(manifest)
    shutil.copy(Path(__file__).with_name('message_package.cmake'), folder / 'source/CMakeLists.txt')
    for name, fields in messages(field_lists).items():
        (folder / f'source/msg/{name}.msg').write_text('\n'.join([*fields, '']))
    cmake = venv / 'bin/cmake'
    configure = [
        *(cmake, '-S', folder / 'source', '-B', folder / 'build', '-G', 'Ninja'),
        f'-DNAME={field_lists.stem}',
        f'-DDEPENDENCIES={";".join(others)}',
        '-DBUILD_TESTING=OFF',
        '-DCMAKE_BUILD_TYPE=Release',
        f'-DCMAKE_INSTALL_PREFIX={prefix or venv}',
        f'-DCMAKE_PREFIX_PATH={venv}',
        f'-DPython3_EXECUTABLE={venv / "bin/python"}',
        # Stated, because some distributions' Python names a folder of their own.
        f'-DPYTHON_INSTALL_DIR={site_packages.relative_to(venv)}',
    ]
    return [configure, [cmake, '--build', folder / 'build'], [cmake, '--install', folder / 'build']]


def environment(venv: Path) -> dict[str, str]:
    """The environment for these commands: the generators find Python, Ninja and ROS in the virtual environment."""
    return os.environ | {'PATH': f'{venv / "bin"}:{os.environ["PATH"]}', 'AMENT_PREFIX_PATH': str(venv)}
