"""COCO-Object: the 80 things of COCO, and background, which all stuff and unlabelled pixels are. See `coco`."""

from diffcut_ros.evaluation.datasets.coco import coco_pairs
from diffcut_ros.evaluation.datasets.dataset import Dataset, names

_CLASSES = names(
    'person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, '
    'parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, '
    'handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, '
    'surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, '
    'broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, '
    'mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, '
    'teddy bear, hair drier, toothbrush'
)
# Of COCO's 91 numbers for things, these were given to none in the end.
_UNUSED = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
_THINGS = [value for value in range(91) if value not in _UNUSED]

COCO_OBJECT = Dataset(
    title='COCO-Object',
    pairs=coco_pairs,
    classes=(*_CLASSES, 'background'),
    values={value: len(_CLASSES) for value in (*range(91, 182), 255)} | {value: k for k, value in enumerate(_THINGS)},
    background=True,
)
