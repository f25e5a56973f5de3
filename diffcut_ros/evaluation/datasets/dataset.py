"""What a labelled data set is, and how one of its images is read."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

# Class of a pixel that no score counts.
IGNORED = -1
_OUTSIDE = -2


@dataclass(frozen=True)
class Pair:
    """One image of a data set and its labels, as files.

    Attributes:
        name: of the image, unique in the data set.
        image: its file.
        labels: the file of its labels.
    """

    name: str
    image: Path
    labels: Path


@dataclass(frozen=True)
class Example:
    """One image with its true labels.

    Attributes:
        image_rgb: uint8 [H, W, 3].
        truths: int64 [H, W] each, classes from 0 or `IGNORED`; one, or one of each person who drew segments.
    """

    image_rgb: np.ndarray
    truths: tuple[np.ndarray, ...]


def read_labels(path: Path) -> list[np.ndarray]:
    """Return the values of a label image: of a palette image the indices, not the colours."""
    with Image.open(path) as image:
        return [np.asarray(image)]


def names(text: str) -> tuple[str, ...]:
    """Return the names in a list such as 'sky, building, road'."""
    return tuple(text.split(', '))


@dataclass(frozen=True)
class Dataset:
    """A labelled data set in the folders that it is distributed in.

    Attributes:
        title: its name, as text.
        pairs: function from the data set's folder and a split to images and labels, in a fixed order; see `listing`.
        splits: names of its parts; the first is what is evaluated by default.
        classes: names of the classes; empty where people drew segments without names.
        values: value in a label file -> class, or `IGNORED`. Not used without classes: there every value is a segment.
        background: whether the last class is the background, which all segments without a class belong to.
        read: function from a label file to the values of each person's labels, integers [H, W].
    """

    title: str
    pairs: Callable[[Path, str], list[Pair]]
    splits: tuple[str, ...] = ('val', 'train')
    classes: tuple[str, ...] = ()
    values: Mapping[int, int] = field(default_factory=dict, repr=False)
    background: bool = False
    read: Callable[[Path], list[np.ndarray]] = read_labels


def load(dataset: Dataset, pair: Pair) -> Example:
    """Read an image and its labels.

    Raises:
        ValueError: for a file that cannot be read, labels of another size, or values that stand for no class.
    """
    with _reading(pair, pair.image), Image.open(pair.image) as image:
        image_rgb = np.array(image.convert('RGB'))
    with _reading(pair, pair.labels):
        drawn = dataset.read(pair.labels)
    for labels in drawn:
        if labels.shape != image_rgb.shape[:2] or labels.dtype.kind not in 'iu':
            raise ValueError(
                f'{pair.labels}: expected integers of the size of {pair.image}, {image_rgb.shape[:2]}, received '
                f'{labels.dtype} {labels.shape}'
            )
    if dataset.classes:
        drawn = [_classes(labels, dataset, pair) for labels in drawn]
    return Example(image_rgb, tuple(labels.astype(np.int64) for labels in drawn))


@contextmanager
def _reading(pair: Pair, path: Path) -> Iterator[None]:
    """Name the file in errors of the block, which libraries raise in many kinds, none of which names it."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f'{pair.name}: cannot read {path}: {type(error).__name__}: {error}') from error


def _classes(labels: np.ndarray, dataset: Dataset, pair: Pair) -> np.ndarray:
    """Return the classes that values of a label file stand for, int64 [H, W]."""
    table = np.full(max(dataset.values) + 1, _OUTSIDE)
    table[list(dataset.values)] = list(dataset.values.values())
    inside = (labels >= 0) & (labels < len(table))
    classes = np.where(inside, table[np.where(inside, labels, 0)], _OUTSIDE)
    outside = np.unique(labels[classes == _OUTSIDE])
    if len(outside):
        raise ValueError(
            f'{pair.labels}: expected the values of {dataset.title}, {min(dataset.values)} to {max(dataset.values)} '
            f'({len(dataset.values)} of them), received {", ".join(map(str, outside[:8]))}; are these its labels?'
        )
    return classes
