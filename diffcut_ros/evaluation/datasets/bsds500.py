"""BSDS500: photographs, each segmented by several people, without classes.

The folder BSR/BSDS500/data of BSR_bsds500.tgz; or one split of it alone, its images directly in images/ and the
segmentations in groundTruth/.
"""

from pathlib import Path

import numpy as np
import scipy.io

from diffcut_ros.evaluation.datasets.dataset import Dataset, Pair
from diffcut_ros.evaluation.datasets.listing import paired


def _pairs(root: Path, split: str) -> list[Pair]:
    inner = f'/{split}' if (root / 'images' / split).is_dir() or not any(root.glob('images/*.jpg')) else ''
    return paired(
        root,
        f'images{inner}/*.jpg',
        f'groundTruth{inner}/*.mat',
        lambda path: path.replace('images/', 'groundTruth/', 1).replace('.jpg', '.mat'),
    )


def _read(path: Path) -> list[np.ndarray]:
    return [person['Segmentation'][0, 0] for person in scipy.io.loadmat(path)['groundTruth'][0]]


BSDS500 = Dataset(title='BSDS500', pairs=_pairs, splits=('val', 'train', 'test'), read=_read)
