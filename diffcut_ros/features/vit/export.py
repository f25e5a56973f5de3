"""What `diffcut_export` writes of a vision transformer's checkpoint."""

import argparse
from dataclasses import replace
from pathlib import Path

from diffcut_ros.features.models import PRECISIONS
from diffcut_ros.features.registry import resolve_device
from diffcut_ros.features.vit.bundle import write_bundle
from diffcut_ros.features.vit.config import VitConfig
from diffcut_ros.features.vit.extractor import VitExtractor
from diffcut_ros.features.vit.kernel import compute_statistics
from diffcut_ros.features.vit.load import load_checkpoint


def export(args: argparse.Namespace, out: Path) -> str:
    """Write the network that a command line names into a folder, with its statistics; return what it is, as text.

    Raises:
        ValueError: for options of other kinds of backends, and see `load_checkpoint`.
    """
    if args.tiny_vae not in ('', 'none'):
        raise ValueError(f'--tiny-vae: expected none, {args.model} is a vision transformer, received {args.tiny_vae}')
    encoder = load_checkpoint(args.model, args.layer or 'last', allow_download=True, revision=args.revision)
    config = VitConfig(kernel='plain', precision='float32')
    statistics = compute_statistics(VitExtractor(encoder, config, resolve_device('auto')).raw)
    # As it was read, in float32, unless something else is asked for: there is no telling what is in the file.
    encoder.network.to('cpu', PRECISIONS.get(args.precision))
    write_bundle(replace(encoder, statistics=statistics), out)
    source = encoder.source
    return f'{source["model"]}, licence {source["licence"]}, layer {encoder.network.layer}'
