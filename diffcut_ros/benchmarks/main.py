"""`diffcut_benchmark`: one command per question about quality or speed."""

import argparse
import sys
from importlib import import_module

from diffcut_ros.interruption import interruptible

# name -> the package that it measures, and what it measures of it. `benchmarks/NAME.py` has `add_arguments(parser)`,
# `run(args)` and a docstring. Imported when asked for: those of the node need ROS, and most take a second or more.
_COMMANDS = {
    'load': ('node', 'the node under more images than it can take'),
    'depth': ('core', 'drift of positions in space over RGB-D frames with known poses'),
    'ncut': ('core', 'time, memory and quality of the hierarchy, beside other ways to cut'),
    'node': ('node', 'what the node adds to the pipeline'),
    'node_3d': ('node', 'what segments in space cost'),
    'pipeline': ('core', 'time and memory of each stage, from image to labels'),
    'replay': ('analysis', 'what an analysis of a recording adds to the pipeline'),
    'tracking': ('core', 'whether segments keep their track id'),
}


def main() -> int:
    """Run the benchmark that the command line names; return 2 when its input is bad, 130 when it is interrupted."""
    parser = argparse.ArgumentParser(
        prog='diffcut_benchmark',
        description=__doc__,
        epilog='\n'.join(f'{name:10}{what}' for name, (_, what) in _COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('command', choices=list(_COMMANDS), help='its own options: diffcut_benchmark COMMAND --help')
    name = parser.parse_args(sys.argv[1:2]).command
    # First what is measured: it sets how OpenMP's threads wait, which is read once, when PyTorch is loaded.
    import_module(f'diffcut_ros.{_COMMANDS[name][0]}')
    module = import_module(f'diffcut_ros.benchmarks.{name}')
    command = argparse.ArgumentParser(
        prog=f'diffcut_benchmark {name}',
        description=module.__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    module.add_arguments(command)
    try:
        with interruptible():
            module.run(command.parse_args(sys.argv[2:]))
    except (ValueError, MemoryError) as error:
        command.exit(2, f'error: {error}\n')
    except KeyboardInterrupt:
        command.exit(130, 'interrupted\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
