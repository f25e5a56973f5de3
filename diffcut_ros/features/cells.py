"""What is seen of the cells of an image: colour, texture and position, and their diffusion.

1. Statistics of each cell: mean CIELAB colour, and the strength of gradients in four directions.
2. Edge-stopping diffusion (Perona & Malik 1990) over the cells. Colour, texture and position flow between neighbours
   unless they differ: a smooth region becomes uniform in all three, so that neither shading nor its mere size cuts it.
   Colour and texture also stop at a contour of pixels between two cells, such as a kerb, which their means do not show.
"""

import math

import cv2
import numpy as np

from diffcut_ros.core.compiled import compiled, inlined

# Pixels per cell and side that statistics are taken from, whatever the image's size: bounds the time.
_CELL_PX = 8
_SWEEPS = 3
# Pixels on each side of a contour whose means are compared: about as wide as a kerb.
_SIDE_PX = 3
# A contour's step is more than so many times the mean of the 5 x 5 cell borders around; that of texture is not.
_OUTSTANDING = 1.5


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
    size_hw = tuple(_CELL_PX * side for side in grid_hw)
    if image_rgb.shape[0] < size_hw[0] or image_rgb.shape[1] < size_hw[1]:
        work = cv2.resize(image_rgb, size_hw[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    else:
        work = np.empty((*size_hw, 3), np.float32)
        _area_means(np.ascontiguousarray(image_rgb), work)
    work /= 255
    return cv2.cvtColor(work, cv2.COLOR_RGB2LAB)


@inlined
def _overlaps(length: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of `length` pixels make each of so many equal parts: the first, int64 [parts], and all weights."""
    scale = length / parts
    first, weights = np.empty(parts, np.int64), np.zeros((parts, int(np.ceil(scale)) + 1), np.float32)
    for part in range(parts):
        begin, end = part * scale, min((part + 1) * scale, length)
        first[part] = min(int(begin), length - weights.shape[1]) if length >= weights.shape[1] else 0
        for i in range(min(weights.shape[1], length)):
            pixel = first[part] + i
            weights[part, i] = max(0.0, min(pixel + 1, end) - max(pixel, begin)) / scale
    return first, weights


@compiled("void(Array(uint8, 3, 'C', readonly=True), float32[:, :, ::1])")
def _area_means(image: np.ndarray, out: np.ndarray) -> None:
    """Write an image, uint8 [H, W, 3], at a smaller size [h, w, 3]: means, each a whole number, as OpenCV's INTER_AREA.

    OpenCV takes three times as long, first along rows and then along columns.
    """
    height, width, _ = image.shape
    rows, row_weights = _overlaps(height, out.shape[0])
    columns, column_weights = _overlaps(width, out.shape[1])
    row = np.empty(3 * width, np.float32)
    for i in range(out.shape[0]):
        row[:] = 0
        for tap in range(min(row_weights.shape[1], height)):
            weight = row_weights[i, tap]
            if weight > 0:
                pixels = image[rows[i] + tap].reshape(-1)
                for x in range(3 * width):
                    row[x] += weight * pixels[x]
        for j in range(out.shape[1]):
            r = g = b = np.float32(0)
            for tap in range(min(column_weights.shape[1], width)):
                weight, x = column_weights[j, tap], 3 * (columns[j] + tap)
                r += weight * row[x]
                g += weight * row[x + 1]
                b += weight * row[x + 2]
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = np.rint(r), np.rint(g), np.rint(b)


def cell_appearance(lab: np.ndarray, texture_weight: float) -> np.ndarray:
    """Return mean colour and texture of each cell.

    Args:
        lab: float32 [8 h, 8 w, 3], see `work_image`.
        texture_weight: see `color.ColorConfig`.

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
        contour: see `color.ColorConfig`.

    Returns:
        float32 [h - 1, w, 1] along columns, [w - 1, h, 1] along rows.
    """
    planes = np.stack(cv2.split(lab))
    down, right = (
        np.exp(-((_contours(side) / contour) ** 2))[:, :, None]
        for side in (planes, np.ascontiguousarray(planes.transpose(0, 2, 1)))
    )
    return down, right


def _contours(planes: np.ndarray) -> np.ndarray:
    """Return by how much the step from each cell to the one below stands out, float32 [h - 1, w] in CIELAB.

    Args:
        planes: float32 [3, 8 h, 8 w], CIELAB.
    """
    step = np.empty((planes.shape[1] // _CELL_PX - 1, planes.shape[2] // _CELL_PX), np.float32)
    _steps(planes, step)
    usual = cv2.blur(step, (5, 5)) if step.size else step
    return np.maximum(step - _OUTSTANDING * usual, 0)


@compiled('void(float32[:, :, ::1], float32[:, ::1])')
def _steps(planes: np.ndarray, step: np.ndarray) -> None:
    """Write the step from each cell to the one below, float32 [h - 1, w]; for planes see `_contours`.

    On each line of pixels from the middle of one cell to that of the other it is the largest one; a contour crosses
    nearly all lines, a spot or a line to the side only some: of the lines, it is the lower quartile.
    """
    width = planes.shape[2]
    squares, line = np.empty(width, np.float32), np.empty(width, np.float32)
    first = (_CELL_PX - _SIDE_PX) // 2
    smallest = np.empty(_CELL_PX // 4 + 1, np.float32)
    for i in range(step.shape[0]):
        line[:] = 0
        for y in range(i * _CELL_PX + first, (i + 1) * _CELL_PX + first):
            squares[:] = 0
            for plane in range(3):
                # Means of three pixels on both sides.
                a, b, c = planes[plane, y - 1], planes[plane, y], planes[plane, y + 1]
                d, e, f = planes[plane, y + 2], planes[plane, y + 3], planes[plane, y + 4]
                for x in range(width):
                    difference = ((d[x] + e[x] + f[x]) - (a[x] + b[x] + c[x])) / np.float32(_SIDE_PX)
                    squares[x] += difference * difference
            for x in range(width):
                line[x] = squares[x] if squares[x] > line[x] else line[x]
        for j in range(step.shape[1]):
            smallest[:] = np.inf
            for x in range(j * _CELL_PX, (j + 1) * _CELL_PX):
                value = line[x]
                for place in range(len(smallest)):
                    if value < smallest[place]:
                        smallest[place], value = value, smallest[place]
            step[i, j] = np.sqrt(smallest[-1])


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
    h, w, _ = cells.shape
    smooth = np.array(cells, order='C')
    down, right = (
        np.array(np.broadcast_to(share, (*hw, 1))[:, :, 0], np.float32, order='C')
        for share, hw in zip(flow, ((h - 1, w), (w - 1, h)), strict=True)
    )
    _diffuse(smooth, guides, edge, strength, down, right)
    return smooth


@inlined
def _conduct(cells: np.ndarray, along: int, guides: int, edge: float, strength: float, flow: np.ndarray) -> np.ndarray:
    """Return the conductance between each cell and the next along an axis, 0 or 1; see `diffuse`.

    Returns:
        float32 [2, h, w], for guides and others; 0 beyond the last cell.
    """
    h, w, _ = cells.shape
    link = np.zeros((2, h, w), np.float32)
    for i in range(h - (along == 0)):
        for j in range(w - (along == 1)):
            square = np.float32(0)
            for c in range(guides):
                difference = cells[i + (along == 0), j + (along == 1), c] - cells[i, j, c]
                square += difference * difference
            alike = np.exp(-square / np.float32(edge * edge))
            link[0, i, j] = np.float32(strength) * alike * (flow[i, j] if along == 0 else flow[j, i])
            link[1, i, j] = np.float32(strength) * alike
    return link


@inlined
def _solve(cells: np.ndarray, along: int, guides: int, link: np.ndarray, share: float) -> None:
    """Solve the tridiagonal system (I + share * L) y = cells of every column or row (Thomas algorithm), in place."""
    h, w, channels = cells.shape
    factor = np.zeros((2, h, w), np.float32)
    below, right = 1 - along, along
    for i in range(h):
        for j in range(w):
            begins = i == 0 if along == 0 else j == 0
            for kind in range(2):
                above = np.float32(0) if begins else np.float32(share) * link[kind, i - below, j - right]
                kept = np.float32(0) if begins else factor[kind, i - below, j - right]
                following = np.float32(share) * link[kind, i, j]
                pivot = np.float32(1) / (1 + following + above * (1 - kept))
                factor[kind, i, j] = following * pivot
                for c in range(0 if kind == 0 else guides, guides if kind == 0 else channels):
                    before = np.float32(0) if begins else above * cells[i - below, j - right, c]
                    cells[i, j, c] = (cells[i, j, c] + before) * pivot
    for i in range(h - 1 - below, -1, -1):
        for j in range(w - 1 - right, -1, -1):
            for kind in range(2):
                for c in range(0 if kind == 0 else guides, guides if kind == 0 else channels):
                    cells[i, j, c] += factor[kind, i, j] * cells[i + below, j + right, c]


@compiled('void(float32[:, :, ::1], int64, float64, float64, float32[:, ::1], float32[:, ::1])')
def _diffuse(cells: np.ndarray, guides: int, edge: float, strength: float, down: np.ndarray, right: np.ndarray) -> None:
    """Do what `diffuse` does, in place; down, float32 [h - 1, w], and right, [w - 1, h], are its flow."""
    columns = _conduct(cells, 0, guides, edge, strength, down)
    rows = _conduct(cells, 1, guides, edge, strength, right)
    for sweep in range(_SWEEPS):
        # Falling strengths that sum to the whole: later sweeps take away the streaks of earlier ones.
        share = 1.5 * 4.0 ** (_SWEEPS - sweep - 1) / (4.0**_SWEEPS - 1)
        _solve(cells, 0, guides, columns, share)
        _solve(cells, 1, guides, rows, share)
