"""The DiffCut algorithm on tensors: no ROS, no files, no network, no command line.

Source: Couairon et al., "DiffCut: Catalyzing Zero-Shot Semantic Segmentation with Diffusion Features and Recursive
Normalized Cut", NeurIPS 2024.
"""

from diffcut_ros.core.affinity import affinity_matrix
from diffcut_ros.core.assignment import assign_concepts
from diffcut_ros.core.classes import Classes
from diffcut_ros.core.distortion import Distortion
from diffcut_ros.core.frame import Frame, SegmenterConfig
from diffcut_ros.core.geometry import PinholeCamera, SegmentGeometry, back_project, locate_segments
from diffcut_ros.core.ncut import recursive_ncut
from diffcut_ros.core.pipeline import Pipeline, Result, Scene
from diffcut_ros.core.refinement import pamr
from diffcut_ros.core.segmenter import Segmenter
from diffcut_ros.core.tracking import Tracker, TrackerConfig
from diffcut_ros.core.tree import SegmentTree
from diffcut_ros.core.types import FeatureMap, Segment, Segmentation, Segments

__all__ = [
    'Classes',
    'Distortion',
    'FeatureMap',
    'Frame',
    'PinholeCamera',
    'Pipeline',
    'Result',
    'Scene',
    'Segment',
    'SegmentGeometry',
    'SegmentTree',
    'Segmentation',
    'Segmenter',
    'SegmenterConfig',
    'Segments',
    'Tracker',
    'TrackerConfig',
    'affinity_matrix',
    'assign_concepts',
    'back_project',
    'locate_segments',
    'pamr',
    'recursive_ncut',
]
