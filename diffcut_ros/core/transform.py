"""How two frames lie to each other."""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Transform:
    """Takes points of one frame into another.

    Attributes:
        rotation: of them.
        translation_m: float64 [3], added afterwards.
    """

    rotation: Rotation = field(default_factory=Rotation.identity)
    translation_m: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def __call__(self, points_m: np.ndarray) -> np.ndarray:
        """Return points, float64 [..., 3], in the other frame."""
        points_m = np.asarray(points_m, float)
        return self.rotation.apply(points_m.reshape(-1, 3)).reshape(points_m.shape) + self.translation_m

    def __matmul__(self, first: 'Transform') -> 'Transform':
        """Return what does another one first."""
        return Transform(self.rotation * first.rotation, self(first.translation_m))

    def inverse(self) -> 'Transform':
        """Return what takes points back."""
        back = self.rotation.inv()
        return Transform(back, -back.apply(self.translation_m))
