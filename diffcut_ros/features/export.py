"""`diffcut_export`: writes what a robot needs of a checkpoint into a folder, its bundle.

Downloads the checkpoint if it is not on this machine. Keeps of a diffusion network the UNet up to the self-attention
layer, the image encoders and the embedding of the empty prompt; of a vision transformer the network up to the layer,
with the statistics of its features, which are computed. Leaves out all the rest.
"""

import sys
from importlib import import_module

from diffcut_ros.arguments.export import parse
from diffcut_ros.exit_status import Status
from diffcut_ros.features.models import packages
from diffcut_ros.features.registry import kind_of
from diffcut_ros.interruption import interruptible
from diffcut_ros.printable import tell


def main(arguments: list[str] | None = None) -> int:
    """Export the model that the command line names; return 0 or one of `Status`."""
    args = parse(sys.argv[1:] if arguments is None else arguments)
    out = args.out.expanduser().resolve()
    try:
        with interruptible():
            with packages('hub'):
                from diffcut_ros.features.bundle import check_target
            check_target(out)
            kind = kind_of(args.model, allow_download=True)
            if kind == 'color':
                raise ValueError(
                    'model: expected one with weights, such as dinov2-small, received color, which has none'
                )
            with packages(kind):
                module = import_module(f'diffcut_ros.features.{kind}.export')
            exported = module.export(args, out)
    except (ValueError, MemoryError, OSError) as error:
        tell(f'diffcut_export: {error}')
        return Status.BAD_INPUT
    except KeyboardInterrupt:
        print(
            'diffcut_export: interrupted; what was fetched is kept, and the same command goes on from there',
            file=sys.stderr,
        )
        return Status.INTERRUPTED
    tell(f'{out}: {exported}', sys.stdout)
    for path in sorted(out.glob('*.safetensors')):
        print(f'  {path.name:24}{path.stat().st_size / 1e6:10.1f} MB')
    tell(f'Use it: diffcut_node --ros-args -p backend:={out}', sys.stdout)
    return 0


if __name__ == '__main__':
    sys.exit(main())
