"""How a lens bends what it sees, by OpenCV's models.

Directions are x / z and y / z in the camera's optical frame. A lens images the direction (x, y) where a pinhole would
image its bent one: at u = fx * bent_x + cx, v = fy * bent_y + cy.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

# Names of models, as camera_info has them, with the numbers of coefficients that OpenCV takes for each.
_SIZES = {'plumb_bob': (4, 5, 8, 12, 14), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}
MODELS = tuple(_SIZES)

# OpenCV's search for a direction ends at this step, or after so many; strong distortion takes about 100.
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-9)
# A direction that is bent elsewhere than where it was looked for has not been found: 0.05 px at a focal length of 500.
_TOLERANCE = 1e-4
# Along the ray, bent directions go outwards; beyond the fold of a polynomial they come back.
_OUTWARDS = 1.001
# 87 degrees from the axis: beyond, z says little about where a point is.
_STEEPEST = 20.0

_NO_TURN, _NO_SHIFT, _PLAIN = np.zeros(3), np.zeros(3), np.eye(3)


@dataclass(frozen=True)
class Distortion:
    """The distortion of a lens.

    Attributes:
        model: one of `MODELS`.
        coefficients: in OpenCV's order (k1, k2, p1, p2, k3, ...; equidistant: k1, k2, k3, k4); missing ones are 0.

    Raises:
        ValueError: for another model, too many coefficients, or ones that are not finite.
    """

    model: str
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.model not in _SIZES:
            raise ValueError(f'expected one of the models {", ".join(MODELS)}, received {self.model!r}')
        most = _SIZES[self.model][-1]
        if len(self.coefficients) > most:
            raise ValueError(f'{self.model}: expected at most {most} coefficients, received {len(self.coefficients)}')
        if not all(map(math.isfinite, self.coefficients)):
            raise ValueError(f'{self.model}: expected finite coefficients, received {self.coefficients}')

    def bend(self, directions: np.ndarray) -> np.ndarray:
        """Return the bent directions, float64 [N, 2], of directions [N, 2]."""
        points = np.concatenate([directions, np.ones((len(directions), 1))], 1).reshape(-1, 1, 3)
        if not len(points):  # OpenCV takes none for an error
            return np.empty((0, 2))
        if self.model == 'equidistant':
            bent, _ = cv2.fisheye.projectPoints(points, _NO_TURN, _NO_SHIFT, _PLAIN, self._padded)
        else:
            bent, _ = cv2.projectPoints(points, _NO_TURN, _NO_SHIFT, _PLAIN, self._padded)
        return bent.reshape(-1, 2)

    def unbend(self, bent: np.ndarray) -> np.ndarray:
        """Return the directions, float64 [N, 2], that are bent to `bent` [N, 2]; NaN where the model has none."""
        points = np.ascontiguousarray(bent, np.float64).reshape(-1, 1, 2)
        if self.model == 'equidistant':
            found = cv2.fisheye.undistortPoints(points, _PLAIN, self._padded)
        else:
            found = cv2.undistortPointsIter(points, _PLAIN, self._padded, None, None, _CRITERIA)
        found = found.reshape(-1, 2)
        with np.errstate(invalid='ignore'):  # what has not been found may be anything
            found[~(np.hypot(*found.T) <= _STEEPEST)] = np.nan
            again = self.bend(found)
            reached = np.hypot(*(again - bent).T) <= _TOLERANCE
            onwards = np.einsum('ij,ij->i', self.bend(found * _OUTWARDS) - again, again) >= 0
        found[~(reached & onwards)] = np.nan
        return found

    @property
    def _padded(self) -> np.ndarray:
        size = next(size for size in _SIZES[self.model] if size >= len(self.coefficients))
        return np.array(self.coefficients + (0.0,) * (size - len(self.coefficients)))
