"""The `color` backend: hand-made colour and texture features, without weights, on a CPU."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.core.types import FeatureMap

# Pixels per cell and side that statistics are taken from; more detail than this does not change them.
_CELL_PX = 8


@dataclass(frozen=True)
class ColorConfig:
    """Settings of the colour backend; raises ValueError for a value out of its range."""

    cells: int = parameter(32, 'Grid cells along the shorter side of the image', minimum=2, maximum=128)
    color_width: float = parameter(25.0, 'CIELAB distance', minimum=1.0, maximum=200.0)

    def __post_init__(self) -> None:
        validate(self)


class ColorExtractor:
    """Maps an image to its colour and texture features; see `ColorConfig`."""

    def __init__(self, config: ColorConfig, device: torch.device) -> None:
        self.config, self.device = config, device

    def __call__(self, image_rgb: np.ndarray) -> FeatureMap:
        """Return the features of an image, uint8 [H, W, 3] RGB."""
        gh, gw = grid_size(image_rgb.shape[:2], self.config.cells)
        work = cv2.resize(image_rgb, (gw * _CELL_PX, gh * _CELL_PX), interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(work.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        mean = cv2.resize(lab, (gw, gh), interpolation=cv2.INTER_AREA) / self.config.color_width
        yy, xx = np.mgrid[:gh, :gw] / min(gh, gw)
        x = np.concatenate([mean, yy[..., None], xx[..., None]], -1)
        z = np.concatenate([np.cos(x), np.sin(x)], -1).astype(np.float32)
        return FeatureMap(torch.from_numpy(z).to(self.device), image_rgb.shape[:2])


def grid_size(image_hw: tuple[int, int], cells: int) -> tuple[int, int]:
    """Return rows and columns of a grid of square cells, `cells` along the shorter side, at least one pixel each."""
    shorter = min(image_hw)
    cells = min(cells, shorter)
    return max(1, round(image_hw[0] * cells / shorter)), max(1, round(image_hw[1] * cells / shorter))
