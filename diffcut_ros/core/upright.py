"""Whether z of a frame points up, as boxes that stand on the ground need it, by how a camera stands in it."""

import math
from dataclasses import dataclass

import numpy as np

from diffcut_ros.core.transform import Transform

# Axes of a camera, see REP 103.
_IMAGE_DOWN, _AHEAD = (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
# Of the directions of all images, the mean is at least so long where they agree.
_AGREE = 0.5
# A camera that looks up or down, by more than about 45 degrees, does not tell where up is: its images' down is level.
_STEEP = 0.7


@dataclass(frozen=True)
class Upright:
    """How the images of a camera stood in a frame so far.

    Attributes:
        images: how many of them tell it.
        down: the sum of the directions, of length 1, that point down in these images, in that frame.
    """

    images: int = 0
    down: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def seen(self, into: Transform) -> 'Upright':
        """Return the same with another image.

        Args:
            into: takes points of its camera into the frame.
        """
        if abs(into.rotation.apply(_AHEAD)[2]) > _STEEP:
            return self
        x, y, z = (np.array(self.down) + into.rotation.apply(_IMAGE_DOWN)).tolist()
        return Upright(self.images + 1, (x, y, z))

    @property
    def is_tilted(self) -> bool:
        """Whether z does not seem to point up: on average, the images' down is not against it.

        Not known where the camera turned every way, or looks up or down.
        """
        x, y, z = self.down
        return math.hypot(x, y) > -z and math.hypot(x, y, z) > _AGREE * self.images
