"""`diffcut_export`: writes what a robot needs of a diffusion checkpoint into a folder, its encoder bundle.

Downloads the checkpoint if it is not on this machine, keeps the UNet up to the self-attention layer, the image encoders
and the embedding of the empty prompt, and leaves out all the rest.
"""

import dataclasses
import sys

from diffcut_ros.arguments.export import parse
from diffcut_ros.exit_status import Status
from diffcut_ros.features.diffusion.config import PRECISIONS, packages
from diffcut_ros.features.diffusion.encoder import DiffusionEncoder, Weights
from diffcut_ros.interruption import interruptible
from diffcut_ros.printable import tell


def main(arguments: list[str] | None = None) -> int:
    """Export the encoder that the command line names; return 0 or one of `Status`."""
    args = parse(sys.argv[1:] if arguments is None else arguments)
    out = args.out.expanduser().resolve()
    try:
        with interruptible():
            with packages():
                from diffcut_ros.features.diffusion.bundle import check_target, write_bundle
                from diffcut_ros.features.diffusion.load import load_checkpoint
            check_target(out)
            tiny_vae = None if args.tiny_vae == 'none' else args.tiny_vae
            encoder = load_checkpoint(args.model, args.layer, tiny_vae, allow_download=True, revision=args.revision)
            write_bundle(convert(encoder, args.precision), out)
    except (ValueError, MemoryError, OSError) as error:
        tell(f'diffcut_export: {error}')
        return Status.BAD_INPUT
    except KeyboardInterrupt:
        print(
            'diffcut_export: interrupted; what was fetched is kept, and the same command goes on from there',
            file=sys.stderr,
        )
        return Status.INTERRUPTED
    tell(f'{out}: {encoder.source["model"]}, licence {encoder.source["licence"]}, up to {encoder.layer}', sys.stdout)
    for path in sorted(out.glob('*.safetensors')):
        print(f'  {path.name:24}{path.stat().st_size / 1e6:10.1f} MB')
    tell(f'Use it: diffcut_node --ros-args -p backend:={out}', sys.stdout)
    return 0


def convert(encoder: DiffusionEncoder, precision: str) -> DiffusionEncoder:
    """Return the encoder with the weights of its networks in another precision; 'as-is' leaves them."""
    if precision == 'as-is':
        return encoder

    def converted(weights: Weights) -> Weights:
        return {name: tensor.to(PRECISIONS[precision]) for name, tensor in weights.items()}

    vaes = {name: (config, converted(weights)) for name, (config, weights) in encoder.vaes.items()}
    return dataclasses.replace(encoder, unet=converted(encoder.unet), vaes=vaes)


if __name__ == '__main__':
    sys.exit(main())
