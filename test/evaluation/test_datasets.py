import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcut_ros.evaluation.datasets import DATASETS, IGNORED, load
from support.datasets import QUADRANTS, paths, write_dataset
from support.scenes import quadrants

SHARED = Path(__file__).parents[3] / 'shared' / 'data'
# name -> number of classes, whether the last one is background, and a class by its place
FACTS = {
    'voc': (21, True, {14: 'person', 20: 'background'}),
    'voc_without_background': (20, False, {14: 'person', 19: 'tvmonitor'}),
    'context': (60, True, {36: 'person', 59: 'background'}),
    'coco_object': (81, True, {0: 'person', 11: 'stop sign', 79: 'toothbrush', 80: 'background'}),
    'coco_stuff': (27, False, {9: 'person things', 23: 'sky stuff', 26: 'water stuff'}),
    'cityscapes': (27, False, {0: 'road', 16: 'sky', 26: 'bicycle'}),
    'ade20k': (150, False, {0: 'wall', 12: 'person', 149: 'flag'}),
    'ade20k_as_published': (150, False, {0: 'none of the 150', 13: 'person', 149: 'clock'}),
    'camvid': (11, False, {0: 'sky', 3: 'road', 10: 'bicyclist'}),
    'bsds500': (0, False, {}),
}


def first(name, root):
    dataset = DATASETS[name]
    return dataset, dataset.pairs(root, dataset.splits[0])[0]


@pytest.mark.parametrize('name', list(DATASETS))
def test_classes(name):
    dataset = DATASETS[name]
    count, background, places = FACTS[name]
    assert len(dataset.classes) == count == len(set(dataset.classes))
    assert set(dataset.values.values()) - {IGNORED} == set(range(count))
    assert dataset.background == background
    assert {place: dataset.classes[place] for place in places} == places


@pytest.mark.parametrize('name', list(QUADRANTS))
def test_labels_of_known_values(name, tmp_path):
    root = write_dataset(name, tmp_path)
    dataset = DATASETS[name]
    pairs = dataset.pairs(root, dataset.splits[0])
    assert [pair.image for pair in pairs] == [paths(name, root, stem)[0] for stem in ('a_1', 'b_2')]
    assert len({pair.name for pair in pairs}) == 2
    example = load(dataset, pairs[0])
    (truth,) = example.truths
    _, quadrant = quadrants(96, 160)
    expected = [IGNORED if c is None else dataset.classes.index(c) for c in QUADRANTS[name][1]]
    np.testing.assert_array_equal(truth, np.array(expected)[quadrant])
    assert truth.dtype == np.int64
    assert example.image_rgb.shape == (96, 160, 3)


def test_groups_of_coco_stuff():
    """One thing or stuff of most of the 27 groups, by COCO's numbers (less 1) and names."""
    dataset = DATASETS['coco_stuff']
    known = {
        0: 'person', 2: 'vehicle', 12: 'outdoor', 16: 'animal', 26: 'accessory', 36: 'sports', 43: 'kitchen',
        52: 'food', 61: 'furniture', 72: 'electronic', 77: 'appliance', 83: 'indoor', 91: 'textile', 94: 'building',
        97: 'furniture', 99: 'raw material', 101: 'ceiling', 112: 'structural', 113: 'floor', 123: 'plant',
        126: 'solid', 147: 'water', 148: 'ground', 152: 'food', 156: 'sky', 170: 'wall', 179: 'window',
    }  # fmt: skip
    for value, group in known.items():
        kind = 'things' if value <= 90 else 'stuff'
        assert dataset.classes[dataset.values[value]] == f'{group} {kind}', value


def test_several_people_drew_bsds500(tmp_path):
    example = load(*first('bsds500', write_dataset('bsds500', tmp_path)))
    _, quadrant = quadrants(96, 160)
    assert len(example.truths) == 2
    np.testing.assert_array_equal(example.truths[0], quadrant + 1)
    np.testing.assert_array_equal(example.truths[1], quadrant // 2 + 1)


@pytest.mark.parametrize(('name', 'folder'), [('camvid', 'camvid_val'), ('bsds500', 'bsds500_val')])
def test_real_images(name, folder):
    root = SHARED / folder
    if not root.exists():
        pytest.skip(f'{name} is not beside the checkout (../shared/data/{folder})')
    dataset = DATASETS[name]
    pairs = dataset.pairs(root, 'val')
    assert len(pairs) == {'camvid': 101, 'bsds500': 100}[name]
    for pair in pairs[::25]:
        assert load(dataset, pair).truths


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('voc', r'expected the list ImageSets/Segmentation/val\.txt in it, one name per line'),
        ('voc_without_background', r'expected the list ImageSets/Segmentation/val\.txt in it'),
        ('context', r'expected the list ImageSets/Main/val\.txt'),
        ('coco_object', r'expected the list curated/val2017/Coco164kFull_Stuff_Coarse_7\.txt'),
        ('coco_stuff', r'expected the list curated/val2017/Coco164kFull_Stuff_Coarse_7\.txt'),
        ('cityscapes', r'expected images in it as leftImg8bit/val/\*/\*_leftImg8bit\.png, found none'),
        ('ade20k', r'expected images in it as images/validation/\*\.jpg, found none'),
        ('ade20k_as_published', r'expected images in it as images/validation/\*\.jpg, found none'),
        ('camvid', r'expected images in it as val/\*\.png, found none'),
        ('bsds500', r'expected images in it as images/val/\*\.jpg, found none'),
    ],
)
def test_a_wrong_root_says_which_file_was_expected_where(name, expected, tmp_path):
    with pytest.raises(ValueError, match=f'^{tmp_path}: {expected}'):
        first(name, tmp_path)


@pytest.mark.parametrize('name', list(DATASETS))
@pytest.mark.parametrize('missing', ['image', 'labels'])
def test_missing_files_are_named(name, missing, tmp_path):
    root = write_dataset(name, tmp_path)
    image, labels = paths(name, root, 'b_2')
    path = image if missing == 'image' else labels
    path.unlink()
    # Where there is no list of names, labels without an image are the trace of a missing image.
    named = path if name.startswith(('voc', 'context', 'coco')) or missing == 'labels' else labels
    with pytest.raises(ValueError, match=rf'{named}.* more'):
        first(name, root)


def test_an_empty_or_repeating_list(tmp_path):
    root = write_dataset('voc', tmp_path)
    names = root / 'ImageSets/Segmentation/val.txt'
    names.write_text('\n')
    with pytest.raises(ValueError, match=r'val\.txt: expected a name per line, received an empty list'):
        first('voc', root)
    names.write_text('a_1\nb_2\na_1\n')
    with pytest.raises(ValueError, match='expected each name once, received 1 of them again'):
        first('voc', root)


def test_values_outside_the_map(tmp_path):
    root = write_dataset('cityscapes', tmp_path)
    _, labels = paths('cityscapes', root, 'a_1')
    values = np.array(Image.open(labels))
    values[0, 0], values[1, 1] = 34, 200
    Image.fromarray(values).save(labels)
    with pytest.raises(
        ValueError, match=rf'{labels}: expected the values of Cityscapes, 0 to 33 .*, received 34, 200;'
    ):
        load(*first('cityscapes', root))


def test_unequal_sizes(tmp_path):
    root = write_dataset('ade20k', tmp_path)
    _, labels = paths('ade20k', root, 'a_1')
    Image.fromarray(np.zeros((160, 96), np.uint8)).save(labels)
    with pytest.raises(ValueError, match=r'expected integers of the size of .*a_1.jpg, \(96, 160\), received uint8'):
        load(*first('ade20k', root))


@pytest.mark.parametrize('name', ['voc', 'bsds500'])
@pytest.mark.parametrize('damaged', [0, 1])
def test_damaged_files_are_named(name, damaged, tmp_path):
    root = write_dataset(name, tmp_path)
    path = paths(name, root, 'a_1')[damaged]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=f'^a_1: cannot read {path}: '):
        load(*first(name, root))


def test_one_split_alone(tmp_path):
    """CamVid and BSDS500, too, where a folder holds the images of one split directly."""
    for name, inner in (('camvid', ('val', 'valannot')), ('bsds500', ('images/val', 'groundTruth/val'))):
        root = write_dataset(name, tmp_path / name)
        alone = tmp_path / f'{name}_alone'
        for folder, plain in zip(inner, ('images', 'labels' if name == 'camvid' else 'groundTruth'), strict=True):
            shutil.copytree(root / folder, alone / plain)
        dataset, pair = first(name, alone)
        assert load(dataset, pair).image_rgb.shape == (96, 160, 3)
