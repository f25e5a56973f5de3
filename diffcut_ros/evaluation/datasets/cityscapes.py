"""Cityscapes: 27 classes.

The folder with leftImg8bit/ of leftImg8bit_trainvaltest.zip and gtFine/ of gtFine_trainvaltest.zip.
The 27 are those with the ids 7 to 33, as in PiCIE (Cho et al., CVPR 2021); ids below (unlabelled, ego vehicle, static,
...) are ignored.
"""

from pathlib import Path

from diffcut_ros.evaluation.datasets.dataset import IGNORED, Dataset, Pair, names
from diffcut_ros.evaluation.datasets.listing import paired

_CLASSES = names(
    'road, sidewalk, parking, rail track, building, wall, fence, guard rail, bridge, tunnel, pole, polegroup, traffic '
    'light, traffic sign, vegetation, terrain, sky, person, rider, car, truck, bus, caravan, trailer, train, '
    'motorcycle, bicycle'
)


def _pairs(root: Path, split: str) -> list[Pair]:
    return paired(
        root,
        f'leftImg8bit/{split}/*/*_leftImg8bit.png',
        f'gtFine/{split}/*/*_gtFine_labelIds.png',
        lambda path: path.replace('leftImg8bit/', 'gtFine/').replace('_leftImg8bit', '_gtFine_labelIds'),
    )


CITYSCAPES = Dataset(
    title='Cityscapes',
    pairs=_pairs,
    classes=_CLASSES,
    values={value: value - 7 if value >= 7 else IGNORED for value in range(34)},
)
