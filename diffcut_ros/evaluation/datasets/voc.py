"""PASCAL VOC 2012: 20 classes and background. The folder VOCdevkit/VOC2012 of VOCtrainval_11-May-2012.tar.

Labels are palette images: 0 is background, 255 the border around objects, which is ignored. The paper's k-means (table
9) is scored without the background: `VOC_WITHOUT_BACKGROUND`.
"""

import dataclasses
from pathlib import Path

from diffcut_ros.evaluation.datasets.dataset import IGNORED, Dataset, Pair, names
from diffcut_ros.evaluation.datasets.listing import listed

_CLASSES = names(
    'aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, motorbike, person, '
    'pottedplant, sheep, sofa, train, tvmonitor, background'
)


def _pairs(root: Path, split: str) -> list[Pair]:
    return listed(root, f'ImageSets/Segmentation/{split}.txt', 'JPEGImages/{}.jpg', 'SegmentationClass/{}.png')


VOC = Dataset(
    title='PASCAL VOC 2012',
    pairs=_pairs,
    classes=_CLASSES,
    values={0: 20, **{value: value - 1 for value in range(1, 21)}, 255: IGNORED},
    background=True,
)
VOC_WITHOUT_BACKGROUND = dataclasses.replace(
    VOC,
    title='PASCAL VOC 2012 without the background',
    classes=_CLASSES[:-1],
    values={**VOC.values, 0: IGNORED},
    background=False,
)
