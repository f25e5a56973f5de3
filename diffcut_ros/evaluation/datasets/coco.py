"""The files of COCO-Stuff (164k), which two data sets are made of.

The folder holds images/val2017/*.jpg (COCO's val2017.zip), annotations/val2017/*.png (stuffthingmaps_trainval2017.zip)
and the list of the 2,175 images that unsupervised methods are compared on since IIC (Ji et al., ICCV 2019):
curated/val2017/Coco164kFull_Stuff_Coarse_7.txt, as PiCIE and the authors of DiffCut distribute it.
"""

from pathlib import Path

from diffcut_ros.evaluation.datasets.dataset import Pair
from diffcut_ros.evaluation.datasets.listing import listed


def coco_pairs(root: Path, split: str) -> list[Pair]:
    """Return the images of a split and their labels: 0 to 90 are things, 91 to 181 stuff, 255 is unlabelled."""
    folder = f'{split}2017'
    return listed(
        root,
        f'curated/{folder}/Coco164kFull_Stuff_Coarse_7.txt',
        f'images/{folder}/{{}}.jpg',
        f'annotations/{folder}/{{}}.png',
    )
