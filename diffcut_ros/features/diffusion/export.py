"""What `diffcut_export` writes of a diffusion checkpoint."""

import argparse
import dataclasses
from pathlib import Path

from diffcut_ros.features.diffusion.bundle import write_bundle
from diffcut_ros.features.diffusion.encoder import DiffusionEncoder
from diffcut_ros.features.diffusion.load import load_checkpoint
from diffcut_ros.features.models import PRECISIONS
from diffcut_ros.features.weights import Weights


def export(args: argparse.Namespace, out: Path) -> str:
    """Write the encoder that a command line names into a folder; return what it is, as text."""
    tiny_vae = None if args.tiny_vae == 'none' else args.tiny_vae
    encoder = load_checkpoint(args.model, args.layer, tiny_vae, allow_download=True, revision=args.revision)
    write_bundle(convert(encoder, args.precision), out)
    return f'{encoder.source["model"]}, licence {encoder.source["licence"]}, up to {encoder.layer}'


def convert(encoder: DiffusionEncoder, precision: str) -> DiffusionEncoder:
    """Return the encoder with the weights of its networks in another precision; 'as-is' leaves them."""
    if precision == 'as-is':
        return encoder

    def converted(weights: Weights) -> Weights:
        return {name: tensor.to(PRECISIONS[precision]) for name, tensor in weights.items()}

    vaes = {name: (config, converted(weights)) for name, (config, weights) in encoder.vaes.items()}
    return dataclasses.replace(encoder, unet=converted(encoder.unet), vaes=vaes)
