"""What shapes features and results beside the image, so that stored ones are told apart: a digest, and versions."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch


def fingerprint(settings: Mapping[str, Any], tensors: Iterable[torch.Tensor] = ()) -> str:
    """Return a digest of settings, weights and the code of this folder; takes about a second per gigabyte of weights.

    Args:
        settings: as for JSON; other values count by their text.
        tensors: on any device, in a fixed order.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps([settings, torch.__version__], sort_keys=True, default=str).encode())
    for path in sorted(Path(__file__).parent.rglob('*.py')):
        digest.update(path.read_bytes())
    for tensor in tensors:
        digest.update(f'{tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of the packages, named as in the registry, that are installed."""
    versions = {}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
