"""Analysis of recordings, without ROS: which images, their segments, and what is written of them."""

from diffcut_ros.replay.pipeline import FrameResult
from diffcut_ros.replay.run import analyze
from diffcut_ros.replay.settings import AnalysisOptions

__all__ = ['AnalysisOptions', 'FrameResult', 'analyze']
