"""Writes small data sets in the folders that the real ones are distributed in."""

from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from support.scenes import quadrants

# Label values of the four quadrants in each data set, and the classes that they stand for (None: ignored).
QUADRANTS = {
    'voc': ((0, 1, 20, 255), ('background', 'aeroplane', 'tvmonitor', None)),
    'voc_without_background': ((0, 1, 20, 255), (None, 'aeroplane', 'tvmonitor', None)),
    'context': ((2, 458, 1, 459), ('aeroplane', 'wood', 'background', 'background')),
    'coco_object': ((0, 89, 91, 255), ('person', 'toothbrush', 'background', 'background')),
    'coco_stuff': ((0, 105, 154, 255), ('person things', 'sky stuff', 'water stuff', None)),
    'cityscapes': ((7, 33, 4, 23), ('road', 'bicycle', None, 'sky')),
    'ade20k': ((1, 150, 0, 3), ('wall', 'flag', None, 'sky')),
    'ade20k_as_published': ((0, 150, 1, 3), ('none of the 150', None, 'wall', 'sky')),
    'camvid': ((0, 10, 11, 3), ('sky', 'bicyclist', None, 'road')),
}
_STEMS = ('a_1', 'b_2', 'c_3')


def write_dataset(name: str, root: Path, count: int = 2, size_hw: tuple[int, int] = (96, 160)) -> Path:
    """Write `count` images of four coloured quadrants with labels in the layout of a data set; return its folder."""
    image, quadrant = quadrants(*size_hw)
    labels = np.array(QUADRANTS[name][0])[quadrant] if name in QUADRANTS else quadrant + 1
    {'bsds500': _bsds500, 'context': _context}.get(name, _png_labels)(name, root, _STEMS[:count], image, labels)
    return root


def write_noisy(root: Path, count: int) -> Path:
    """Write CamVid of that many different images, of noise over the four colours, so that none are stored yet."""
    write_dataset('camvid', root, count=1, size_hw=(60, 80))
    image, labels = (np.array(Image.open(path)) for path in paths('camvid', root, 'a_1'))
    generator = np.random.default_rng(0)
    for k in range(count):
        noise = generator.integers(-9, 10, image.shape)
        for path, pixels in zip(paths('camvid', root, f'n_{k:03d}'), (image + noise, labels), strict=True):
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    for path in paths('camvid', root, 'a_1'):
        path.unlink()
    return root


def _png_labels(name, root, stems, image, labels):
    for stem in stems:
        image_path, labels_path = paths(name, root, stem)
        for path in (image_path, labels_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(image_path, quality=95)
        png = Image.fromarray(labels.astype(np.uint8))
        if name.startswith('voc'):  # the real ones are palette images
            png = png.convert('P')
            png.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
        png.save(labels_path)
    lists = {
        'voc': 'ImageSets/Segmentation/val.txt',
        'voc_without_background': 'ImageSets/Segmentation/val.txt',
        'coco_object': 'curated/val2017/Coco164kFull_Stuff_Coarse_7.txt',
        'coco_stuff': 'curated/val2017/Coco164kFull_Stuff_Coarse_7.txt',
    }
    if name in lists:
        _write_list(root / lists[name], stems)


def _context(name, root, stems, image, labels):
    for stem in stems:
        image_path, labels_path = paths(name, root, stem)
        for path in (image_path, labels_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(image_path, quality=95)
        scipy.io.savemat(labels_path, {'LabelMap': labels.astype(np.uint16)})
    _write_list(root / 'ImageSets/Main/val.txt', stems)


def _bsds500(name, root, stems, image, labels):
    people = np.empty((1, 2), object)
    for k, drawn in enumerate([labels, (labels + 1) // 2]):  # the second person saw the upper and the lower half
        people[0, k] = {'Segmentation': drawn.astype(np.uint16)}
    for stem in stems:
        image_path, labels_path = paths(name, root, stem)
        for path in (image_path, labels_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(image_path, quality=95)
        scipy.io.savemat(labels_path, {'groundTruth': people})


def paths(name: str, root: Path, stem: str) -> tuple[Path, Path]:
    """Return where an image and its labels lie."""
    image, labels = {
        'voc': (f'JPEGImages/{stem}.jpg', f'SegmentationClass/{stem}.png'),
        'voc_without_background': (f'JPEGImages/{stem}.jpg', f'SegmentationClass/{stem}.png'),
        'context': (f'JPEGImages/{stem}.jpg', f'trainval/{stem}.mat'),
        'coco_object': (f'images/val2017/{stem}.jpg', f'annotations/val2017/{stem}.png'),
        'coco_stuff': (f'images/val2017/{stem}.jpg', f'annotations/val2017/{stem}.png'),
        'cityscapes': (
            f'leftImg8bit/val/ulm/{stem}_leftImg8bit.png',
            f'gtFine/val/ulm/{stem}_gtFine_labelIds.png',
        ),
        'ade20k': (f'images/validation/{stem}.jpg', f'annotations/validation/{stem}.png'),
        'ade20k_as_published': (f'images/validation/{stem}.jpg', f'annotations/validation/{stem}.png'),
        'camvid': (f'val/{stem}.png', f'valannot/{stem}.png'),
        'bsds500': (f'images/val/{stem}.jpg', f'groundTruth/val/{stem}.mat'),
    }[name]
    return root / image, root / labels


def _write_list(path: Path, stems):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(stems) + '\n')
