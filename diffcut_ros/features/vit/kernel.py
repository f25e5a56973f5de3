"""The `joint` kernel: features of a network, joined with what is seen of each cell, in one Gaussian kernel.

A network knows things but not where they end; colour and texture know where something ends. Each cell becomes a vector
of its appearance and position, diffused as by the `color` backend, and of the principal components of the network's
features, which flow a little between cells that look alike. The cosine similarity of two cells is a Gaussian of the
distance of their vectors.

The principal components are those of a few free images, see `images/LICENCES.md`: the same for all images of a camera.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numba
import numpy as np
import torch
import torch.nn.functional as F

from diffcut_ros.core.types import FeatureMap
from diffcut_ros.features.cells import grid_size
from diffcut_ros.features.color import APPEARANCE_CHANNELS, COLOR_CHANNELS, ColorConfig, see
from diffcut_ros.features.gaussian import Gaussian

COMPONENTS = 32
_IMAGES = Path(__file__).parent / 'images'
# What a component is divided by: its variance to the power of a half of this. 0 leaves all as it is, 1 whitens: between
# these, components that vary little count, and noise does not count as much as things.
_WHITENING = 0.5
# Components of less variance, as a share of the first one's, are rounding.
_LEAST_VARIANCE = 1e-6
# All in units of a colour difference (CIELAB). How far apart the network's features of two cells are, root mean square.
_NETWORK_WEIGHT = 60.0
# What a difference of colour or texture counts beside the network's: it divides what is one thing.
_APPEARANCE_WEIGHT = 0.3
# Distance at which the cosine similarity of two cells falls to 0.61. With it the best tau is about the node's default.
_WIDTH = 65.0
# Strength of the diffusion of the network's features, in cells^2: its grid is coarse, and its borders would be ragged.
# As strong as that of colour, people and pavements are lost.
_DIFFUSION = 50.0


@dataclass(frozen=True)
class Statistics:
    """How the features of a network vary over images.

    Attributes:
        mean: float32 [C].
        basis: float32 [C, 32], the principal components, scaled; zeros where there are fewer.
    """

    mean: torch.Tensor
    basis: torch.Tensor

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return them as they are kept in a bundle."""
        return {'statistics.mean': self.mean, 'statistics.basis': self.basis}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> Self:
        """Return those that a bundle keeps.

        Raises:
            ValueError: when they are missing, or of another shape or type.
        """
        mean, basis = (tensors.get(f'statistics.{name}') for name in ('mean', 'basis'))
        expected = f'expected statistics.mean float32 [C] and statistics.basis float32 [C, {COMPONENTS}]'
        again = 'export the model anew: diffcut_export MODEL NEW_FOLDER'
        if mean is None or basis is None:
            missing = ' and '.join(f'no statistics.{n}' for n, t in (('mean', mean), ('basis', basis)) if t is None)
            raise ValueError(f'{expected}, found {missing}; {again}')
        fits = mean.ndim == 1 and basis.shape == (len(mean), COMPONENTS)
        if not fits or {mean.dtype, basis.dtype} != {torch.float32}:
            found = ' and '.join(
                f'{tensor.dtype} {list(tensor.shape)}'.removeprefix('torch.') for tensor in (mean, basis)
            )
            raise ValueError(f'{expected}, found {found}; {again}')
        if not (mean.isfinite().all() and basis.isfinite().all()):
            raise ValueError(f'{expected}, found NaN or infinity in them; {again}')
        return cls(mean, basis)


def compute_statistics(raw: Callable[[np.ndarray], torch.Tensor]) -> Statistics:
    """Measure how the features of a network vary, on eleven free images that come with this package.

    Args:
        raw: the network: maps an image, uint8 [H, W, 3] RGB, to float32 [h, w, C].

    Raises:
        ValueError: when features are not finite, or the same everywhere; or when the images are not there.
    """
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    paths = sorted(_IMAGES.glob('*.jpg'))
    if not paths:
        raise ValueError(f'{_IMAGES}: expected the images that come with diffcut_ros, found none; install it anew')
    for path in paths:
        features = raw(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)).flatten(0, 1).double().cpu()
        if not features.isfinite().all():
            raise ValueError(
                f'expected finite features of {path.name}, received NaN or infinity: numbers are too large for the '
                'precision, or weights are damaged; try float32'
            )
        count, total, products = count + len(features), total + features.sum(0), products + features.T @ features
    mean = total / count
    variances, axes = torch.linalg.eigh(products / count - torch.outer(mean, mean))
    variances, axes = variances.flip(0)[:COMPONENTS], axes.flip(1)[:, :COMPONENTS]
    if not variances[0] > _LEAST_VARIANCE * mean.square().mean():
        raise ValueError('expected features that differ between cells, received the same everywhere; check the weights')
    kept = variances > _LEAST_VARIANCE * variances[0]
    variances, axes = variances[kept], axes[:, kept]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # the same from every eigensolver
    basis = axes / variances ** (_WHITENING / 2)
    # The square of the distance of two cells is twice the variance, in the mean.
    basis /= (2 * (variances ** (1 - _WHITENING)).sum()).sqrt()
    return Statistics(mean.float(), F.pad(basis, (0, COMPONENTS - basis.shape[1])).float())


class JointKernel:
    """Maps an image and what a network makes of it to features.

    Args:
        statistics: of the network.
        device: where the network's features are, and those that are returned; the kernel is computed on the CPU.
    """

    channels = Gaussian.channels

    def __init__(self, statistics: Statistics, device: torch.device) -> None:
        self._device, self._config = device, ColorConfig()
        self._mean, self._basis = statistics.mean.to(device), statistics.basis.to(device)
        self._kernel = Gaussian(COLOR_CHANNELS + COMPONENTS, _WIDTH)
        self._statistics = hashlib.sha256(b''.join(t.cpu().numpy().tobytes() for t in statistics.tensors().values()))

    def __call__(self, image_rgb: np.ndarray, raw: torch.Tensor) -> FeatureMap:
        """Return the features [h, w, 512] of an image.

        Args:
            image_rgb: uint8 [H, W, 3] RGB.
            raw: the network's features on a grid of any size over the whole image, float32 [h', w', C].

        Raises:
            ValueError: for an image of another shape or dtype.
        """
        seen = see(image_rgb, self._config)
        grid_hw = self.grid_hw(image_rgb.shape[:2])
        if seen is None:
            cells = np.zeros((*grid_hw, COLOR_CHANNELS + COMPONENTS), np.float32)
        else:
            cells = seen.cells()
            cells[:, :, :APPEARANCE_CHANNELS] *= _APPEARANCE_WEIGHT
            cells = np.concatenate([cells, seen.smooth(self._components(raw, grid_hw), _DIFFUSION)], 2)
        return self._kernel(cells, image_rgb.shape[:2], self._device)

    def grid_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return rows and columns of the features of an image of that height and width."""
        return grid_size(image_hw, self._config.cells)

    def fingerprint(self) -> dict[str, Any]:
        """Return what shapes the features beside image, network and code."""
        return {
            'kernel': 'joint',
            'statistics': self._statistics.hexdigest(),
            'opencv': cv2.__version__,
            'numba': numba.__version__,
        }

    def _components(self, raw: torch.Tensor, grid_hw: tuple[int, int]) -> np.ndarray:
        """Return the components of the network's features on the grid of the cells, float32 [h, w, 32]."""
        components = ((raw - self._mean) @ self._basis * _NETWORK_WEIGHT).permute(2, 0, 1)[None]
        resized = F.interpolate(components, grid_hw, mode='bilinear', antialias=True)
        return resized[0].permute(1, 2, 0).cpu().numpy()
