"""Settings of the node itself; those of the pipeline stand in `core` and `features`."""

from dataclasses import dataclass

from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.features import BACKENDS


@dataclass(frozen=True)
class NodeConfig:
    """Settings of the node; raises ValueError for a value out of its range."""

    backend: str = parameter(
        'color', f'Feature extractor: {", ".join(BACKENDS)}, the folder of a bundle or checkpoint, or a model id'
    )
    device: str = parameter('auto', "Where the pipeline runs: 'auto' (CUDA where present, else the CPU), 'cpu', 'cuda'")
    rate_hz: float = parameter(
        10.0,
        'Images segmented per second at most, by their header stamps; 0 = every image the machine can take',
        unit='Hz',
        minimum=0.0,
        maximum=1000.0,
        dynamic=True,
    )
    overlay_opacity: float = parameter(
        0.5,
        'Opacity of the colours in the overlay',
        minimum=0.0,
        maximum=1.0,
        dynamic=True,
    )

    def __post_init__(self) -> None:
        validate(self)
