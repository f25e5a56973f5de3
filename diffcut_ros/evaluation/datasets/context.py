"""PASCAL Context: the 59 most frequent of its 459 classes, and background.

The folder VOCdevkit/VOC2010 of VOCtrainval_03-May-2010.tar, with trainval/ of the data set's trainval.tar.gz in it. Its
labels hold all 459 classes; those beyond the 59 are background.
"""

from pathlib import Path

import numpy as np
import scipy.io

from diffcut_ros.evaluation.datasets.dataset import Dataset, Pair
from diffcut_ros.evaluation.datasets.listing import listed

# value in the label file -> name, in the data set's order of 459 names
_CLASSES = {
    2: 'aeroplane', 9: 'bag', 18: 'bed', 19: 'bedclothes', 22: 'bench', 23: 'bicycle', 25: 'bird', 31: 'boat',
    33: 'book', 34: 'bottle', 44: 'building', 45: 'bus', 46: 'cabinet', 59: 'car', 65: 'cat', 68: 'ceiling',
    72: 'chair', 80: 'cloth', 85: 'computer', 98: 'cow', 104: 'cup', 105: 'curtain', 113: 'dog', 115: 'door',
    144: 'fence', 158: 'floor', 159: 'flower', 162: 'food', 187: 'grass', 189: 'ground', 207: 'horse', 220: 'keyboard',
    232: 'light', 258: 'motorbike', 259: 'mountain', 260: 'mouse', 284: 'person', 295: 'plate', 296: 'platform',
    308: 'pottedplant', 324: 'road', 326: 'rock', 347: 'sheep', 349: 'shelves', 354: 'sidewalk', 355: 'sign',
    360: 'sky', 366: 'snow', 368: 'sofa', 397: 'table', 415: 'track', 416: 'train', 420: 'tree', 424: 'truck',
    427: 'tvmonitor', 440: 'wall', 445: 'water', 454: 'window', 458: 'wood',
}  # fmt: skip


def _pairs(root: Path, split: str) -> list[Pair]:
    return listed(root, f'ImageSets/Main/{split}.txt', 'JPEGImages/{}.jpg', 'trainval/{}.mat')


def _read(path: Path) -> list[np.ndarray]:
    return [scipy.io.loadmat(path)['LabelMap']]


CONTEXT = Dataset(
    title='PASCAL Context',
    pairs=_pairs,
    classes=(*_CLASSES.values(), 'background'),
    values={value: len(_CLASSES) for value in range(460)} | {value: k for k, value in enumerate(_CLASSES)},
    background=True,
    read=_read,
)
