"""ADE20K, 150 classes. The folder ADEChallengeData2016 of ADEChallengeData2016.zip.

Label 0 is whatever is none of the 150, and ignored. The code that the authors of DiffCut published reads the same files
without moving their values: there 0 counts as the first class, and 150, flag, is ignored: `ADE20K_AS_PUBLISHED`.
"""

import dataclasses
from pathlib import Path

from diffcut_ros.evaluation.datasets.dataset import IGNORED, Dataset, Pair, names
from diffcut_ros.evaluation.datasets.listing import paired

_CLASSES = names(
    'wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door, '
    'table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, '
    'armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest '
    'of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, '
    'pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, '
    'hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, '
    'bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane, dirt '
    'track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, '
    'conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, '
    'cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, '
    'blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, '
    'bulletin board, shower, radiator, glass, clock, flag'
)


def _pairs(root: Path, split: str) -> list[Pair]:
    return paired(
        root,
        f'images/{split}/*.jpg',
        f'annotations/{split}/*.png',
        lambda path: path.replace('images/', 'annotations/', 1).replace('.jpg', '.png'),
    )


ADE20K = Dataset(
    title='ADE20K',
    pairs=_pairs,
    splits=('validation', 'training'),
    classes=_CLASSES,
    values={0: IGNORED, **{value: value - 1 for value in range(1, 151)}},
)
ADE20K_AS_PUBLISHED = dataclasses.replace(
    ADE20K,
    title="ADE20K as the code of DiffCut's authors reads it",
    classes=('none of the 150', *_CLASSES[:-1]),
    values={**{value: value for value in range(150)}, 150: IGNORED},
)
