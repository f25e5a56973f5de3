"""Feature extractors: image -> `FeatureMap`. A new backend is one file here and one line in the registry."""

from diffcut_ros.features.registry import BACKENDS, create_extractor

__all__ = ['BACKENDS', 'create_extractor']
