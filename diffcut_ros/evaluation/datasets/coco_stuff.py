"""COCO-Stuff-27: the 27 groups that COCO's things and stuff form; unlabelled pixels are ignored. See `coco`."""

from diffcut_ros.evaluation.datasets.coco import coco_pairs
from diffcut_ros.evaluation.datasets.dataset import IGNORED, Dataset, names

_CLASSES = names(
    'electronic things, appliance things, food things, furniture things, indoor things, kitchen things, accessory '
    'things, animal things, outdoor things, person things, sports things, vehicle things, ceiling stuff, floor stuff, '
    'food stuff, furniture stuff, raw material stuff, textile stuff, wall stuff, window stuff, building stuff, ground '
    'stuff, plant stuff, sky stuff, solid stuff, structural stuff, water stuff'
)
# group of the things 0 to 90, in runs: group, number of things
_THINGS = ((9, 1), (11, 8), (8, 6), (7, 10), (6, 8), (10, 10), (5, 8), (2, 10), (3, 10), (0, 6), (1, 6), (4, 8))
# group of the stuff 91 to 181
_STUFF = (
    17, 17, 22, 20, 20, 22, 15, 25, 16, 13, 12, 12, 17, 17, 23, 15, 15, 17, 15, 21, 15, 25, 13, 13, 13, 13, 13, 22, 26,
    14, 14, 15, 22, 21, 21, 24, 20, 22, 15, 17, 16, 15, 22, 24, 21, 17, 25, 16, 21, 17, 22, 16, 21, 21, 25, 21, 26, 21,
    24, 20, 17, 14, 21, 26, 15, 23, 20, 21, 24, 15, 24, 22, 25, 15, 20, 17, 17, 22, 14, 18, 18, 18, 18, 18, 18, 18, 26,
    26, 19, 19, 24,
)  # fmt: skip
_GROUPS = (*(group for group, count in _THINGS for _ in range(count)), *_STUFF)

COCO_STUFF = Dataset(
    title='COCO-Stuff-27',
    pairs=coco_pairs,
    classes=_CLASSES,
    values=dict(enumerate(_GROUPS)) | {255: IGNORED},
)
