"""The `color` backend: colour, texture and position of cells, without weights, on a CPU.

1. Statistics of each cell: mean CIELAB colour, and the strength of gradients in four directions.
2. Edge-stopping diffusion (Perona & Malik 1990) over the cells. Colour, texture and position flow between neighbours
   unless they differ: a smooth region becomes uniform in all three, so that neither shading nor its mere size cuts it.
   Colour and texture also stop at a contour of pixels between two cells, such as a kerb, which their means do not show.
3. Fourier features of a Gaussian kernel (Rahimi & Recht 2007): their cosine similarity is exp(-d^2 / (2 width^2)) for
   two cells at distance d, up to a small error.
"""

import dataclasses
import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.core.types import FeatureMap, check_image
from diffcut_ros.features.fingerprint import fingerprint

# Pixels per cell and side that statistics are taken from, whatever the image's size: bounds the time.
_CELL_PX = 8
_FREQUENCIES = 256
_DIFFUSION_ROUNDS = 2
_SWEEPS = 3
# Pixels on each side of a contour whose means are compared: about as wide as a kerb.
_SIDE_PX = 3
# A contour's step is more than so many times the mean of the 5 x 5 cell borders around; that of texture is not.
_OUTSTANDING = 1.5


@dataclass(frozen=True)
class ColorConfig:
    """Settings of the colour backend; raises ValueError for a value out of its range.

    Colour differences are in CIELAB units: 1 is just noticeable, 100 is black to white.
    """

    cells: int = parameter(
        32,
        'Grid cells along the shorter side of the image, fewer for images longer than 2:1. Memory for an image of 2:1: '
        '0.1 GB at 32, 1 GB at 64, 15 GB at 128',
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

    channels = 2 * _FREQUENCIES

    def __init__(self, config: ColorConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.description = f'color, {config.cells} cells along the shorter side'
        # Seven channels of appearance, two of position; a fixed seed makes features repeat.
        frequencies = np.random.default_rng(0).standard_normal((9, _FREQUENCIES), np.float32)
        self._frequencies = frequencies / np.float32(config.kernel_width)

    def __call__(self, image_rgb: np.ndarray) -> FeatureMap:
        """Return the features [h, w, 512] of an image, uint8 [H, W, 3] RGB.

        Raises:
            ValueError: for an image of another shape or dtype.
        """
        check_image(image_rgb)
        config = self.config
        grid_hw = self.grid_hw(image_rgb.shape[:2])
        lab = work_image(image_rgb, grid_hw)
        appearance = cell_appearance(lab, config.texture_weight)
        if np.ptp(appearance, axis=(0, 1)).max() < config.noise:
            features = np.ones((*grid_hw, self.channels), np.float32)
        else:
            cells = np.concatenate([appearance, cell_position(grid_hw) * config.position_weight], 2)
            flow = contour_flow(lab, config.contour)
            for _ in range(_DIFFUSION_ROUNDS):
                cells = diffuse(cells, appearance.shape[2], config.edge, config.diffusion, flow)
            phase = cells @ self._frequencies
            features = np.concatenate([np.cos(phase), np.sin(phase)], 2)
        return FeatureMap(torch.from_numpy(features).to(self.device), image_rgb.shape[:2])

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
        return fingerprint({'backend': 'color', 'opencv': cv2.__version__, **dataclasses.asdict(self.config)})


def grid_size(image_hw: tuple[int, int], cells: int) -> tuple[int, int]:
    """Return rows and columns of a grid of square cells, `cells` along the shorter side, at least one pixel each.

    Beyond 2:1 there are fewer, so that no image has more than 2 * cells^2; where one row is still too long, its cells
    are longer than wide.
    """
    shorter, longer = sorted(image_hw)
    most = 2 * cells**2
    fewer = min(cells, shorter, max(1, math.isqrt(most * shorter // longer)))
    more = min(round(longer * fewer / shorter), most // fewer)
    return (fewer, more) if image_hw[0] == shorter else (more, fewer)


def work_image(image_rgb: np.ndarray, grid_hw: tuple[int, int]) -> np.ndarray:
    """Return an image, uint8 [H, W, 3], at 8 pixels per cell and side and in CIELAB, float32 [8 h, 8 w, 3].

    L is 0..100, a and b about -100..100.
    """
    h, w = grid_hw
    work = cv2.resize(image_rgb, (w * _CELL_PX, h * _CELL_PX), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(work.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def cell_appearance(lab: np.ndarray, texture_weight: float) -> np.ndarray:
    """Return mean colour and texture of each cell.

    Args:
        lab: float32 [8 h, 8 w, 3], see `work_image`.
        texture_weight: see `ColorConfig`.

    Returns:
        float32 [h, w, 7]: CIELAB, log gradient strength in four directions.
    """
    h, w = (side // _CELL_PX for side in lab.shape[:2])
    gx = cv2.Scharr(lab[:, :, 0], cv2.CV_32F, 1, 0, scale=1 / 32)
    gy = cv2.Scharr(lab[:, :, 0], cv2.CV_32F, 0, 1, scale=1 / 32)
    diagonal = np.float32(np.sqrt(0.5))
    gradients = cv2.merge([np.abs(gx), np.abs(gy), np.abs(gx + gy) * diagonal, np.abs(gx - gy) * diagonal])
    # The median over a neighbourhood keeps what lasts, texture, and drops what passes through, an edge.
    strength = cv2.resize(gradients, (w, h), interpolation=cv2.INTER_AREA).reshape(h, w, 4)
    strength = cv2.GaussianBlur(cv2.medianBlur(strength, 5), (0, 0), 1.0).reshape(h, w, 4)
    mean = cv2.resize(lab, (w, h), interpolation=cv2.INTER_AREA).reshape(h, w, 3)
    return np.concatenate([mean, texture_weight * np.log1p(strength)], 2)


def cell_position(grid_hw: tuple[int, int]) -> np.ndarray:
    """Return row and column of each cell as a share of the shorter side, float32 [h, w, 2]."""
    return (np.indices(grid_hw, np.float32) / min(grid_hw)).transpose(1, 2, 0)


def contour_flow(lab: np.ndarray, contour: float) -> tuple[np.ndarray, np.ndarray]:
    """Return what share of the flow between neighbouring cells contours let through, 0 to 1.

    Args:
        lab: float32 [8 h, 8 w, 3], see `work_image`.
        contour: see `ColorConfig`.

    Returns:
        float32 [h - 1, w, 1] along columns, [w - 1, h, 1] along rows.
    """
    down, right = (np.exp(-((_contours(side) / contour) ** 2))[:, :, None] for side in (lab, lab.transpose(1, 0, 2)))
    return down, right


def _contours(lab: np.ndarray) -> np.ndarray:
    """Return by how much the step from each cell to the one below stands out, float32 [h - 1, w] in CIELAB."""
    sides = cv2.blur(lab, (1, _SIDE_PX))
    step = np.sqrt(((sides[_SIDE_PX:] - sides[:-_SIDE_PX]) ** 2).sum(2))
    # The largest step on each line of pixels from the middle of one cell to that of the other.
    first = (_CELL_PX - _SIDE_PX) // 2
    height, width = (side // _CELL_PX for side in lab.shape[:2])
    lines = step[first:][: (height - 1) * _CELL_PX].reshape(height - 1, _CELL_PX, width, _CELL_PX).max(1)
    # A contour crosses nearly all lines, a spot or a line to the side only some: the lower quartile of the lines.
    quartile = _CELL_PX // 4
    step = np.partition(lines, quartile, 2)[:, :, quartile]
    usual = cv2.blur(step, (5, 5)) if step.size else step
    return np.maximum(step - _OUTSTANDING * usual, 0)


def diffuse(
    cells: np.ndarray,
    guides: int,
    edge: float,
    strength: float,
    flow: tuple[np.ndarray | float, np.ndarray | float] = (1.0, 1.0),
) -> np.ndarray:
    """Let channels flow between neighbouring cells that look alike.

    Solves (I + strength * L) y = cells, L the Laplacian of the grid whose links conduct flow * exp(-(d / edge)^2), by
    sweeps along columns and rows in turn (Min et al., "Fast Global Image Smoothing", 2014).

    Args:
        cells: float32 [h, w, C].
        guides: the first channels, whose difference d between neighbours decides the flow of all.
        edge: difference at which it has nearly stopped, above 0.
        strength: at least 0.
        flow: of the guides, see `contour_flow`. The other channels flow across contours: by position, the parts of an
            object would become different.

    Returns:
        float32 [h, w, C].
    """
    down = strength * _links(cells, guides, edge, flow[0])
    right = strength * _links(cells.transpose(1, 0, 2), guides, edge, flow[1])
    for sweep in range(_SWEEPS):
        # Falling strengths that sum to the whole: later sweeps take away the streaks of earlier ones.
        share = 1.5 * 4.0 ** (_SWEEPS - sweep - 1) / (4.0**_SWEEPS - 1)
        cells = _solve_columns(cells, share * down)
        cells = _solve_columns(cells.transpose(1, 0, 2), share * right).transpose(1, 0, 2)
    return cells


def _links(cells: np.ndarray, guides: int, edge: float, flow: np.ndarray | float) -> np.ndarray:
    """Return the conductance between each cell and the one below, float32 [h - 1, w, C]; see `diffuse`."""
    guide = cells[:, :, :guides]
    alike = np.exp(-((guide[1:] - guide[:-1]) ** 2).sum(2) / edge**2)
    link = np.repeat(alike[:, :, None], cells.shape[2], 2)
    link[:, :, :guides] *= flow
    return link


def _solve_columns(cells: np.ndarray, link: np.ndarray) -> np.ndarray:
    """Solve the tridiagonal system (I + L) y = cells of every column at once (Thomas algorithm).

    Args:
        cells: float32 [h, w, C].
        link: float32 [h - 1, w, C], conductance between a cell and the one below.
    """
    solved = np.empty_like(cells)
    link = np.pad(link, ((1, 1), (0, 0), (0, 0)))
    above, factors = np.zeros_like(cells[0]), np.zeros((len(cells) + 1, *cells.shape[1:]), cells.dtype)
    for row in range(len(cells)):
        pivot = 1 + link[row + 1] + link[row] * (1 - factors[row])
        factors[row + 1] = link[row + 1] / pivot
        above = solved[row] = (cells[row] + link[row] * above) / pivot
    for row in range(len(cells) - 2, -1, -1):
        solved[row] += factors[row + 1] * solved[row + 1]
    return solved
