"""The `color` backend: colour, texture and position of cells, without weights, on a CPU.

Features are what is seen of a cell (`cells`), diffused, and a kernel over it (`gaussian`).
"""

import dataclasses
from dataclasses import dataclass

import cv2
import numba
import numpy as np
import torch

from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.core.types import FeatureMap, check_image
from diffcut_ros.features.cells import cell_appearance, cell_position, contour_flow, diffuse, grid_size, work_image
from diffcut_ros.features.fingerprint import fingerprint
from diffcut_ros.features.gaussian import Gaussian

# Of what is seen of a cell: seven of appearance first, then two of position.
APPEARANCE_CHANNELS, COLOR_CHANNELS = 7, 9
_DIFFUSION_ROUNDS = 2


@dataclass(frozen=True)
class ColorConfig:
    """Settings of the colour backend; raises ValueError for a value out of its range.

    Colour differences are in CIELAB units: 1 is just noticeable, 100 is black to white.
    """

    cells: int = parameter(
        32,
        'Grid cells along the shorter side of the image, fewer for images longer than 2:1. Memory for an image of 2:1 '
        'on a CPU: 0.1 GB at 32, 0.6 GB at 64, 10 GB at 128',
        minimum=2,
        maximum=128,
    )
    kernel_width: float = parameter(
        38.0,
        'Colour difference at which the cosine similarity of two cells falls to 0.61; smaller gives more segments',
        unit='CIELAB',
        minimum=1.0,
        maximum=500.0,
    )
    texture_weight: float = parameter(
        20.0, 'Colour difference that stands for a factor of e in gradient strength', minimum=0.0, maximum=200.0
    )
    position_weight: float = parameter(
        30.0, "Colour difference that stands for a distance of the image's shorter side", minimum=0.0, maximum=500.0
    )
    edge: float = parameter(
        4.0,
        'Difference between neighbouring cells at which diffusion stops',
        unit='CIELAB',
        minimum=0.1,
        maximum=100.0,
    )
    contour: float = parameter(
        0.5,
        'Step across a line of pixels between cells, beyond 1.5 times what is usual around, at which diffusion stops',
        unit='CIELAB',
        minimum=0.1,
        maximum=1000.0,
    )
    diffusion: float = parameter(
        1000.0, 'Strength of the diffusion; 0 = none', unit='cells^2', minimum=0.0, maximum=10000.0
    )
    noise: float = parameter(
        2.0,
        'An image whose cells all differ by less than this is uniform: its cells get equal features',
        unit='CIELAB',
        minimum=0.0,
        maximum=100.0,
    )

    def __post_init__(self) -> None:
        validate(self)


class ColorExtractor:
    """Maps an image to its colour features.

    Args:
        config: settings.
        device: where the features are put; they are computed on the CPU.
    """

    channels = Gaussian.channels

    def __init__(self, config: ColorConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.description = f'color, {config.cells} cells along the shorter side'
        self._kernel = Gaussian(COLOR_CHANNELS, config.kernel_width)

    def __call__(self, image_rgb: np.ndarray) -> FeatureMap:
        """Return the features [h, w, 512] of an image, uint8 [H, W, 3] RGB.

        Raises:
            ValueError: for an image of another shape or dtype.
        """
        seen = see(image_rgb, self.config)
        grid_hw = self.grid_hw(image_rgb.shape[:2])
        cells = np.zeros((*grid_hw, COLOR_CHANNELS), np.float32) if seen is None else seen.cells()
        return self._kernel(cells, image_rgb.shape[:2], self.device)

    def batch(self, images_rgb: list[np.ndarray]) -> list[FeatureMap]:
        """Return the features of several images, one after the other."""
        return [self(image) for image in images_rgb]

    def prepare(self, batch: int) -> None:
        """Do nothing: there is nothing to prepare."""

    def grid_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return rows and columns of the features of an image of that height and width."""
        return grid_size(image_hw, self.config.cells)

    def fingerprint(self) -> str:
        """Return a digest of the settings and the code."""
        return fingerprint(
            {
                'backend': 'color',
                'opencv': cv2.__version__,
                'numba': numba.__version__,
                **dataclasses.asdict(self.config),
            }
        )


@dataclass(frozen=True)
class Seen:
    """What is seen of the cells of an image.

    Attributes:
        appearance: float32 [h, w, 7], see `cell_appearance`.
        flow: see `contour_flow`.
        config: settings.
    """

    appearance: np.ndarray
    flow: tuple[np.ndarray, np.ndarray]
    config: ColorConfig

    def cells(self) -> np.ndarray:
        """Return appearance and position of the cells, diffused, float32 [h, w, 9], in units of a colour difference."""
        position = cell_position(self.appearance.shape[:2]) * self.config.position_weight
        cells = np.concatenate([self.appearance, position], 2)
        for _ in range(_DIFFUSION_ROUNDS):
            cells = self._diffused(cells, self.config.diffusion)
        return cells

    def smooth(self, others: np.ndarray, strength: float) -> np.ndarray:
        """Return other channels of the cells, float32 [h, w, C], diffused once where cells look alike."""
        return self._diffused(np.concatenate([self.appearance, others], 2), strength)[:, :, APPEARANCE_CHANNELS:]

    def _diffused(self, cells: np.ndarray, strength: float) -> np.ndarray:
        return diffuse(cells, APPEARANCE_CHANNELS, self.config.edge, strength, self.flow)


def see(image_rgb: np.ndarray, config: ColorConfig) -> Seen | None:
    """Return what is seen of the cells of an image, uint8 [H, W, 3] RGB; None where it is uniform.

    Raises:
        ValueError: for an image of another shape or dtype.
    """
    check_image(image_rgb)
    lab = work_image(image_rgb, grid_size(image_rgb.shape[:2], config.cells))
    appearance = cell_appearance(lab, config.texture_weight)
    if np.ptp(appearance, axis=(0, 1)).max() < config.noise:
        return None
    return Seen(appearance, contour_flow(lab, config.contour), config)
