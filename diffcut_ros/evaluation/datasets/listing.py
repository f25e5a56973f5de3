"""Finds the images and labels of a data set in its folder, and says which file is not where it belongs."""

from collections.abc import Callable
from pathlib import Path

from diffcut_ros.evaluation.datasets.dataset import Pair


def listed(root: Path, names: str, image: str, labels: str) -> list[Pair]:
    """Return the images that a list of the data set names.

    Args:
        root: the data set's folder.
        names: path of the list in it, a name per line.
        image: path of an image, with {} for its name.
        labels: likewise, of its labels.

    Raises:
        ValueError: when a file is not there, or the list is empty.
    """
    path = root / names
    try:
        found = path.read_text().split()
    except FileNotFoundError as error:
        raise ValueError(f'{root}: expected the list {names} in it, one name per line, which is not there') from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f'{root}: expected the list {names} in it, one name per line: {error}') from error
    if not found:
        raise ValueError(f'{path}: expected a name per line, received an empty list')
    twice = len(found) - len(set(found))
    if twice:
        raise ValueError(f'{path}: expected each name once, received {twice} of them again')
    return _complete([Pair(name, root / image.format(name), root / labels.format(name)) for name in found])


def paired(root: Path, images: str, labels: str, labels_of: Callable[[str], str]) -> list[Pair]:
    """Return the images in a folder, each with labels of a corresponding name in another.

    Args:
        root: the data set's folder.
        images: pattern of the images' paths in it, such as images/val/*.jpg.
        labels: pattern of the labels' paths.
        labels_of: function from an image's path in `root` to that of its labels.

    Raises:
        ValueError: when there is no image, or an image or labels without its counterpart.
    """
    found = sorted(root.glob(images))
    if not found:
        raise ValueError(f'{root}: expected images in it as {images}, found none')
    pairs = [Pair(path.stem, path, root / labels_of(str(path.relative_to(root)))) for path in found]
    without_image = sorted(set(root.glob(labels)) - {pair.labels for pair in pairs})
    complete = _complete(pairs)
    if without_image:
        raise ValueError(
            f'{without_image[0]}: expected an image for these labels in {images}, found none; the same holds for '
            f'{len(without_image) - 1} more'
        )
    return complete


def _complete(pairs: list[Pair]) -> list[Pair]:
    missing = [path for pair in pairs for path in (pair.image, pair.labels) if not path.is_file()]
    if missing:
        raise ValueError(f'expected the file {missing[0]}, which is not there; {len(missing) - 1} more are missing')
    return pairs
