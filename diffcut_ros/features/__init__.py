"""Feature extractors: image -> `FeatureMap`. `registry.py` lists them and says where a new one goes."""

from diffcut_ros.features.registry import BACKENDS, CONFIGS, create_extractor

__all__ = ['BACKENDS', 'CONFIGS', 'create_extractor']
