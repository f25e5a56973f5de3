"""`diffcut_benchmark`: one command per question about quality or speed."""

import argparse
import sys
from importlib import import_module

from diffcut_ros.interruption import interruptible

# name -> module with `add_arguments(parser)`, `run(args)` and a docstring; what it measures. Modules are imported when
# asked for: that of the node needs ROS, and most take a second or more.
_COMMANDS = {
    'load': ('diffcut_ros.node.benchmark_load', 'the node under more images than it can take'),
    'depth': ('diffcut_ros.evaluation.geometry', 'drift of positions in space over RGB-D frames with known poses'),
    'ncut': ('diffcut_ros.evaluation.ncut', 'time, memory and quality of the hierarchy, beside other ways to cut'),
    'node': ('diffcut_ros.node.benchmark', 'what the node adds to the pipeline'),
    'node_3d': ('diffcut_ros.node.benchmark_3d', 'what segments in space cost'),
    'pipeline': ('diffcut_ros.evaluation.pipeline', 'time and memory of each stage, from image to labels'),
    'replay': ('diffcut_ros.replay.benchmark', 'what an analysis of a recording adds to the pipeline'),
    'tracking': ('diffcut_ros.evaluation.tracking', 'whether segments keep their identity'),
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
    module = import_module(_COMMANDS[name][0])
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
