"""Features on disk, so that runs on the same images compute them once.

A file per image, named by a digest of all that shapes its content: the pixels that were segmented (so crop and size,
too), and the extractor's fingerprint (backend, settings, weights, code). Several processes may share a folder: a file
appears whole or not at all.
"""

import hashlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from diffcut_ros.core import FeatureMap
from diffcut_ros.features.registry import Extractor
from diffcut_ros.plain_files import check_plain
from diffcut_ros.writing import writing

_LEFT_BEHIND_S = 3600


def default_folder() -> Path:
    """Return where features are stored unless told otherwise, by the XDG rules."""
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'diffcut_ros' / 'features'


class FeatureCache:
    """A folder of features, at most so many bytes of them.

    Args:
        folder: made where it is missing.
        limit_bytes: beyond it, the files that were not used for the longest time are removed; 0: nothing is stored.
        fingerprint: of the extractor, see `Extractor.fingerprint`.
    """

    def __init__(self, folder: Path, limit_bytes: int, fingerprint: str) -> None:
        self._folder, self._limit_bytes, self._fingerprint = folder, limit_bytes, fingerprint

    def features(self, extractor: Extractor, image_rgb: np.ndarray) -> tuple[FeatureMap, bool]:
        """Return the features of an image, uint8 [H, W, 3], and whether they were stored.

        Raises:
            OSError: when they cannot be stored.
        """
        if not self._limit_bytes:
            return extractor(image_rgb), False
        path = self._path(image_rgb)
        stored = _read(path)
        if stored is not None:
            tensors = {name: torch.from_numpy(array).to(extractor.device) for name, array in stored.items()}
            return FeatureMap(image_size_hw=image_rgb.shape[:2], **tensors), True
        feature_map = extractor(image_rgb)
        tensors = {'features': feature_map.features}
        if feature_map.points is not None:
            tensors['points'] = feature_map.points
        self._write(path, {name: tensor.cpu().numpy() for name, tensor in tensors.items()})
        return feature_map, False

    def _path(self, image_rgb: np.ndarray) -> Path:
        digest = hashlib.sha256(f'{self._fingerprint} {image_rgb.shape}'.encode())
        digest.update(np.ascontiguousarray(image_rgb))
        return self._folder / f'{digest.hexdigest()}.npz'

    def _write(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp('.writing', dir=self._folder)
            try:
                with os.fdopen(handle, 'wb') as file:
                    np.savez(file, **arrays)  # type: ignore[arg-type]
                os.replace(name, path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            self._shrink()

    def _shrink(self) -> None:
        """Remove what was not used for the longest time, and what killed processes left behind."""
        files = []
        for entry in os.scandir(self._folder):
            try:
                status = entry.stat()
            except FileNotFoundError:  # another process removed it
                continue
            if entry.name.endswith(('.npz', '.npy')):  # .npy: of versions before 0.2
                files.append((status.st_mtime, status.st_size, entry.path))
            elif entry.name.endswith('.writing') and time.time() - status.st_mtime > _LEFT_BEHIND_S:
                Path(entry.path).unlink(missing_ok=True)
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._limit_bytes:
                break
            Path(path).unlink(missing_ok=True)
            total -= size


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """Return what is stored, and mark it as used; None where nothing is, or it is damaged."""
    try:
        check_plain([path])
        with path.open('rb') as opened, np.load(opened) as file:
            arrays = dict(file)
        os.utime(path)
    except FileNotFoundError:
        return None
    except OSError:
        raise
    except Exception:  # cut short by a full disk or a crash, or of others: computed and written again
        return None
    if 'features' not in arrays or any(array.ndim != 3 or array.dtype != np.float32 for array in arrays.values()):
        return None
    return arrays
