"""`diffcut`: recursive Normalized Cut on features, the method of this project."""

from dataclasses import dataclass, field

import numpy as np
import torch

from diffcut_ros.core import SegmenterConfig
from diffcut_ros.core.parameters import parameters
from diffcut_ros.evaluation.methods.cells import labels_of_pixels, upsampling
from diffcut_ros.evaluation.methods.sample import Sample, features_of, numbered


@dataclass(frozen=True)
class DiffcutConfig(SegmenterConfig):
    """Settings of the mask stage, and how labels of cells become those of pixels."""

    upsampling: str = upsampling()
    # The paper's segments, in any number of parts, with the borders that cells give them.
    instances: str = field(default='segments', metadata=parameters(SegmenterConfig)['instances'][0].metadata)
    refine: str = field(default='none', metadata=parameters(SegmenterConfig)['refine'][0].metadata)


@torch.inference_mode()
def segment(sample: Sample, config: DiffcutConfig) -> np.ndarray:
    """Segment an image as `core.Segmenter` does, from its features; see `Method.run`.

    Pixels of segments that `min_segment_area` leaves out are one segment together.

    Raises:
        ValueError: for a sample without features, or 'nearest' with another refinement than 'none'.
        MemoryError: when the features' device has too little memory.
    """
    feature_map = features_of(sample)
    if config.upsampling == 'nearest' and config.refine != 'none':
        raise ValueError(f'refine: expected none with upsampling nearest, received {config.refine!r}')
    frame = sample.frame
    segmentation = frame.cut(config)
    if config.upsampling == 'nearest':
        return numbered(labels_of_pixels(feature_map, frame.cells, 'nearest'))
    return numbered(segmentation.labels)
