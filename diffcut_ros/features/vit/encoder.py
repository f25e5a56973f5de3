"""What a vision transformer consists of, wherever it was read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from diffcut_ros.features.vit.network import VitNetwork

if TYPE_CHECKING:
    from diffcut_ros.features.vit.kernel import Statistics


@dataclass(frozen=True)
class Scaling:
    """How pixels 0..255 become what a network was trained on: (pixel * factor - mean) / std.

    Attributes:
        factor: 1 / 255 in most.
        mean, std: of red, green and blue.
    """

    factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class VitEncoder:
    """A network up to the layer whose features are taken, on the CPU, and what belongs to it.

    Attributes:
        source: where it comes from, as text: 'model', 'revision', 'licence', ...
        network: the network.
        scaling: of its input.
        statistics: of its features, for the joint kernel; None: not known yet.
    """

    source: dict[str, str]
    network: VitNetwork = field(repr=False)
    scaling: Scaling
    statistics: Statistics | None = field(repr=False)
