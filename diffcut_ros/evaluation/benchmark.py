"""`diffcut_benchmark`: one command per question about quality or speed."""

import argparse
import sys

from diffcut_ros.evaluation import bsds, ncut, pipeline

# name -> module with `add_arguments(parser)`, `run(args)` and a docstring
_COMMANDS = {'bsds': bsds, 'ncut': ncut, 'pipeline': pipeline}


def main() -> int:
    """Run the benchmark that the command line names; return 2 when its input is bad."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, title='commands', metavar='COMMAND')
    for name, module in _COMMANDS.items():
        command = commands.add_parser(
            name,
            description=module.__doc__,
            help=module.__doc__.partition(': ')[2].partition('.')[0],
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args()
    try:
        args.run(args)
    except (ValueError, MemoryError) as error:
        parser.exit(2, f'error: {error}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
