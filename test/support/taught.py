"""Files of classes, taught from images as somebody would who clicks on them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffcut_ros.classes_file import ClassesFile, write_classes
from diffcut_ros.core import Classes, Segmenter, SegmenterConfig
from diffcut_ros.core.classes import Source
from diffcut_ros.features import create_extractor
from diffcut_ros.features.probe import probe


def teach(path: Path, images_rgb: list[np.ndarray], points: Mapping[str, tuple[int, int]], **options) -> Classes:
    """Write a file of classes with one example of each name in each image.

    Args:
        path: of the file.
        images_rgb: uint8 [H, W, 3] each.
        points: name -> column and row of a pixel of the segment that has it.
        options: of the color backend.
    """
    extractor = create_extractor('color', **options)
    classes = Classes()
    for stamp, image in enumerate(images_rgb):
        found = Segmenter(extractor, SegmenterConfig()).segment(image)
        for name, (x, y) in points.items():
            segment = found.segments[int(found.labels[y, x]) - 1]
            source = Source('', '/image', stamp, (x, y), segment.box_xyxy, image.shape[1::-1])
            classes = classes.with_example(name, segment.feature, segment.score, source)
    write_classes(path, ClassesFile(classes, extractor.description, probe(extractor)))
    return classes
