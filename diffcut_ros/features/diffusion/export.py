"""`diffcut_export`: writes what a robot needs of a diffusion checkpoint into a folder, its encoder bundle.

Downloads the checkpoint if it is not on this machine, keeps the UNet up to the self-attention layer, the image encoders
and the embedding of the empty prompt, and leaves out all the rest.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from diffcut_ros.features.diffusion.config import MODELS, PRECISIONS, packages
from diffcut_ros.features.diffusion.encoder import DiffusionEncoder, Weights
from diffcut_ros.interruption import interruptible


def main(arguments: list[str] | None = None) -> int:
    """Export the encoder that the command line names; return 2 when that fails, 130 when it is interrupted."""
    parser = argparse.ArgumentParser(prog='diffcut_export', description=__doc__)
    parser.add_argument('model', help=f'{", ".join(MODELS)}, a folder, or a model id OWNER/NAME')
    parser.add_argument('out', type=Path, help='folder to write, new or empty')
    parser.add_argument('--tiny-vae', default='', metavar='WHICH', help='folder or model id; none: leave it out')
    parser.add_argument('--precision', choices=('as-is', *PRECISIONS), default='as-is', help='of the stored weights')
    parser.add_argument('--layer', default='', help='module path of the self-attention; the last one of the encoder')
    parser.add_argument('--revision', help='branch, tag or commit of the model')
    args = parser.parse_args(arguments)
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
        print(f'diffcut_export: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            'diffcut_export: interrupted; what was fetched is kept, and the same command goes on from there',
            file=sys.stderr,
        )
        return 130
    print(f'{out}: {encoder.source["model"]}, licence {encoder.source["licence"]}, up to {encoder.layer}')
    for path in sorted(out.glob('*.safetensors')):
        print(f'  {path.name:24}{path.stat().st_size / 1e6:10.1f} MB')
    print(f'Use it: diffcut_node --ros-args -p backend:={out}')
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
