"""How a lens bends what it sees, by OpenCV's models.

Directions are x / z and y / z in the camera's optical frame. A lens images the direction (x, y) where a pinhole would
image its bent one: at u = fx * bent_x + cx, v = fy * bent_y + cy.
"""

from dataclasses import dataclass

import cv2
import numpy as np

# Names of models, as camera_info has them, with the most coefficients that each has.
_SIZES = {'plumb_bob': 12, 'rational_polynomial': 12, 'equidistant': 4}
MODELS = tuple(_SIZES)

# OpenCV's search for a direction ends at this step, or after so many; strong distortion takes about 100.
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-9)
# A direction that is bent elsewhere than where it was looked for has not been found: 0.05 px at a focal length of 500.
_TOLERANCE = 1e-4
# Along the ray, bent directions go outwards; beyond the fold of a polynomial they come back.
_OUTWARDS = 1.001
# 87 degrees from the axis: beyond, z says little about where a point is.
_STEEPEST = 20.0

# Lenses have coefficients below 1000; larger powers of these would be infinite.
_LARGEST = 1e6

_PLAIN = np.eye(3)


@dataclass(frozen=True)
class Distortion:
    """The distortion of a lens.

    Attributes:
        model: one of `MODELS`.
        coefficients: in OpenCV's order: k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4; equidistant: k1, k2, k3, k4.
            Missing ones are 0, and zeros beyond the model's do not count: OpenCV writes 14, the last two a tilt.

    Raises:
        ValueError: for another model, too many coefficients, or ones that are not finite or beyond 1e6.
    """

    model: str
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.model not in _SIZES:
            raise ValueError(f'expected one of the models {", ".join(MODELS)}, received {self.model!r}')
        most = _SIZES[self.model]
        if any(self.coefficients[most:]):
            raise ValueError(
                f'{self.model}: expected at most {most} coefficients other than 0, received {self.coefficients}'
            )
        if not all(abs(one) <= _LARGEST for one in self.coefficients):  # NaN is not
            raise ValueError(
                f'{self.model}: expected finite coefficients up to {_LARGEST:g}, received {self.coefficients}'
            )

    def bend(self, directions: np.ndarray) -> np.ndarray:
        """Return the bent directions, float64 [N, 2], of directions [N, 2].

        Not by cv2.projectPoints, which computes derivatives, too: ten times as long, and 240 bytes for each.
        """
        x, y = directions.T.astype(float)
        r2 = x * x + y * y
        if self.model == 'equidistant':
            k1, k2, k3, k4 = self._padded
            r = np.sqrt(r2)
            angle = np.arctan(r)
            a2 = angle * angle
            bent = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
            scale = np.divide(bent, r, out=np.ones_like(r), where=r > 0)
            return np.stack([x * scale, y * scale], -1)
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = self._padded
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        xy = 2 * x * y
        bent_x = x * radial + p1 * xy + p2 * (r2 + 2 * x * x) + r2 * (s1 + r2 * s2)
        bent_y = y * radial + p2 * xy + p1 * (r2 + 2 * y * y) + r2 * (s3 + r2 * s4)
        return np.stack([bent_x, bent_y], -1)

    def unbend(self, bent: np.ndarray) -> np.ndarray:
        """Return the directions, float64 [N, 2], that are bent to `bent` [N, 2]; NaN where the model has none."""
        points = np.ascontiguousarray(bent, np.float64).reshape(-1, 1, 2)
        if self.model == 'equidistant':
            found = cv2.fisheye.undistortPoints(points, _PLAIN, self._padded)
        else:
            found = cv2.undistortPointsIter(points, _PLAIN, self._padded, None, None, _CRITERIA)
        found = found.reshape(-1, 2)
        with np.errstate(invalid='ignore', divide='ignore'):  # what has not been found may be anything
            found[~(np.hypot(*found.T) <= _STEEPEST)] = np.nan
            again = self.bend(found)
            reached = np.hypot(*(again - bent).T) <= _TOLERANCE
            onwards = np.einsum('ij,ij->i', self.bend(found * _OUTWARDS) - again, again) >= 0
        found[~(reached & onwards)] = np.nan
        return found

    @property
    def _padded(self) -> np.ndarray:
        most = _SIZES[self.model]
        return np.pad(np.array(self.coefficients[:most], float), (0, max(0, most - len(self.coefficients))))
