"""Analysis of recordings, without ROS: which images, their segments, and what is written of them."""

import os

# Read once, when PyTorch loads OpenMP. By default its threads spin while they wait, and take the cores from the threads
# that read and write: on 2 cores with other work, an image took 320 ms of processor time against 145 ms.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from diffcut_ros.analysis.frame_result import FrameResult
from diffcut_ros.analysis.run import analyze
from diffcut_ros.analysis.settings import AnalysisOptions

__all__ = ['AnalysisOptions', 'FrameResult', 'analyze']
