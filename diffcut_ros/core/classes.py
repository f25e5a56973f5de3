"""Classes by example: segments get the name of the shown segment that they resemble most.

No training: somebody shows a few segments and says what they are. Features, L2-normalised, are compared by their
squared Euclidean distance, after the directions in which examples of one class differ among themselves are made shorter
(within-class covariance normalisation, Hatch et al., "Within-Class Covariance Normalization for SVM-based Speaker
Recognition", Interspeech 2006). How far is too far, and how sure an answer is, follow from the examples themselves,
each compared with those of other images.
"""

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from diffcut_ros.core.types import Segments

# 0 is unknown; consumers read 8 bits, and some take 255 for unlabelled.
UNKNOWN, MAX_CLASSES = 0, 254
UNKNOWN_NAME = 'unknown'
LONGEST_CLASS_NAME = 64
UNKNOWN_COLOR = (128, 128, 128)
# So much of the variance within classes, divided by the number of examples that it is estimated from, is added in all
# directions: a few examples do not show all directions in which a class varies; many do.
_REGULARISED = 0.25
# This share of the examples has an example of its own class within the distance beyond which nothing is known.
_KNOWN_SHARE = 0.95
# What is up to twice as far (a squared distance of 4 times as much) is known, too, where the next class is clearly
# farther: by so many times as much.
_STILL_KNOWN, _CLEARLY_FARTHER = 4.0, 1.5
# Features with a cosine similarity above this are alike, whatever the examples say.
_ALIKE = 0.99
# Each costs one more decomposition of the examples.
_MOST_FOLDS = 10
# Squared singular values below this share of the largest are those of rounding.
_ROUNDING = 1e-12
# Softness of the answers tried, see `_probabilities`; and the one without examples to tell.
_SOFTNESS = np.geomspace(0.02, 5.0, 40)
_DEFAULT_SOFTNESS = 0.5
# Distances below this share of the one that is too far are much the same.
_NEAR = 0.1
# Okabe and Ito's palette, which colour-blind people can tell apart; then hues by the golden ratio.
_PALETTE = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
_GOLDEN = 0.618033988749895


def check_class_name(name: object) -> str:
    """Return the name of a class.

    Raises:
        ValueError: for one that is no text, empty, too long, reserved, or that does not fit into a line.
    """
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_CLASS_NAME:
        received = repr(name) if not isinstance(name, str) or not name else f'{len(name)} characters'
        raise ValueError(f'class name: expected 1 to {LONGEST_CLASS_NAME} characters, received {received[:80]}')
    if not name.isprintable() or name != name.strip():
        raise ValueError(
            f'class name: expected characters that print, no line breaks, no blanks at its ends, received {name!r}'
        )
    if name == UNKNOWN_NAME:
        raise ValueError(f'class name: expected another than {UNKNOWN_NAME!r}, which is what fits no example')
    return name


def class_color(class_id: int) -> tuple[int, int, int]:
    """Return the colour, RGB 0 to 255, that a class has unless it is given another."""
    if class_id <= len(_PALETTE):
        return _PALETTE[class_id - 1]
    hue = class_id * _GOLDEN % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, *((0.55, 0.95), (0.85, 0.75), (0.4, 0.6))[class_id % 3])
    return round(255 * red), round(255 * green), round(255 * blue)


@dataclass(frozen=True)
class NamedClass:
    """A name, and the colour that it is shown in, RGB 0 to 255."""

    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Source:
    """Where an example is from, so that it can be found again with another backend.

    Attributes:
        recording: its path as it was given; empty: a live camera.
        topic: of the image.
        stamp_ns: of the image.
        point_xy: the pixel that was shown.
        box_xyxy: of the segment, as in `Segments`.
        size_wh: of the image, px.
    """

    recording: str = ''
    topic: str = ''
    stamp_ns: int = 0
    point_xy: tuple[int, int] = (0, 0)
    box_xyxy: tuple[int, int, int, int] = (0, 0, 1, 1)
    size_wh: tuple[int, int] = (1, 1)

    @property
    def image(self) -> tuple[str, str, int]:
        """What tells the image from others."""
        return self.recording, self.topic, self.stamp_ns


@dataclass(frozen=True, eq=False)
class Classes:
    """Names, each with the examples that somebody has shown.

    Attributes:
        classes: id 1..254 -> name and colour; an id stays with its name, also without examples.
        class_id: int64 [E], what each example shows.
        feature: float32 [E, C], `Segments.feature` of each example.
        score: float64 [E], `Segments.score`.
        sources: E of them.
        checked: what somebody said when asked: a name, or '' for none of them, and where. It teaches nothing: it tells
            how right the names are.

    Raises:
        ValueError: for arrays that do not fit, an unknown id, two classes of one name, or a name that cannot be one.
    """

    classes: Mapping[int, NamedClass] = field(default_factory=dict)
    class_id: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    feature: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32), repr=False)
    score: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    sources: tuple[Source, ...] = field(default=(), repr=False)
    checked: tuple[tuple[str, Source], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if len(self.classes) > MAX_CLASSES:
            raise ValueError(f'classes: expected at most {MAX_CLASSES}, received {len(self.classes)}')
        names = [check_class_name(one.name) for one in self.classes.values()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f'classes: expected different names, received {twice[0]!r} twice')
        if wrong := [key for key in self.classes if not 1 <= key <= MAX_CLASSES]:
            raise ValueError(f'classes: expected ids 1 to {MAX_CLASSES}, received {wrong[0]}')
        count = len(self.class_id)
        for name, values, kind, sides in (
            ('class_id', self.class_id, np.int64, 1),
            ('feature', self.feature, np.float32, 2),
            ('score', self.score, np.float64, 1),
        ):
            if values.dtype != kind or values.ndim != sides or len(values) != count:
                raise ValueError(
                    f'{name}: expected {np.dtype(kind)} of {count} examples, received {values.dtype} {values.shape}'
                )
        if len(self.sources) != count:
            raise ValueError(f'sources: expected {count}, one for each example, received {len(self.sources)}')
        if unknown := set(self.class_id.tolist()) - set(self.classes):
            raise ValueError(f'class_id: expected ids of classes, received {min(unknown)}')
        if not np.isfinite(self.feature).all() or not ((self.score >= 0) & (self.score <= 1)).all():
            raise ValueError('examples: expected finite features and scores 0 to 1, received others')

    def __len__(self) -> int:
        return len(self.class_id)

    def name(self, class_id: int) -> str:
        """Return the name of an id; 'unknown' for 0."""
        return UNKNOWN_NAME if class_id == UNKNOWN else self.classes[class_id].name

    def color(self, class_id: int) -> tuple[int, int, int]:
        """Return the colour of an id, RGB 0 to 255; grey for 0."""
        return UNKNOWN_COLOR if class_id == UNKNOWN else self.classes[class_id].color

    def id_of(self, name: str) -> int:
        """Return the id of a name; KeyError where there is none."""
        return {one.name: key for key, one in self.classes.items()}[name]

    def with_class(self, name: str) -> 'Classes':
        """Return these classes and one of that name, with the lowest id that is free; as they are if it exists.

        Raises:
            ValueError: for a name that cannot be one, or with all ids in use.
        """
        check_class_name(name)
        if any(one.name == name for one in self.classes.values()):
            return self
        free = next((key for key in range(1, MAX_CLASSES + 1) if key not in self.classes), None)
        if free is None:
            raise ValueError(f'classes: expected at most {MAX_CLASSES}, received one more, {name!r}')
        return replace(self, classes={**self.classes, free: NamedClass(name, class_color(free))})

    def with_example(self, name: str, feature: np.ndarray, score: float, source: Source) -> 'Classes':
        """Return these classes with one more example, the last one; its class is made where there is none.

        Args:
            name: of the class.
            feature: float32 [C], `Segment.feature`.
            score: `Segment.score`.
            source: where it is from.

        Raises:
            ValueError: as `with_class`, and for features of another length than those of the other examples.
        """
        known = self.with_class(name)
        self._check_width(len(feature))
        rows = np.asarray(feature, np.float32)[None]
        return replace(
            known,
            class_id=np.append(known.class_id, known.id_of(name)),
            feature=np.concatenate([known.feature, rows]) if len(self) else rows,
            score=np.append(known.score, float(score)),
            sources=(*known.sources, source),
        )

    def without_example(self, index: int) -> 'Classes':
        """Return these classes without one example, which is IndexError where there is none; names stay."""
        if not -len(self) <= index < len(self):
            raise IndexError(f'example: expected an index below {len(self)}, received {index}')
        kept = np.arange(len(self)) != index % len(self)
        sources = tuple(source for source, keep in zip(self.sources, kept, strict=True) if keep)
        return replace(
            self, class_id=self.class_id[kept], feature=self.feature[kept], score=self.score[kept], sources=sources
        )

    def without_class(self, name: str) -> 'Classes':
        """Return these classes without one, which has no example (else ValueError); KeyError where there is none."""
        key = self.id_of(name)
        return replace(self, classes={one: named for one, named in self.classes.items() if one != key})

    def renamed(self, name: str, new: str) -> 'Classes':
        """Return these classes with one of them under another name; its id and examples stay.

        Where there is a class of the new name, examples go to that one, and the id of the old one is free again.

        Raises:
            KeyError: where there is none of the old name; ValueError for a new name that cannot be one.
        """
        key = self.id_of(name)
        check_class_name(new)
        checked = tuple((new if one == name else one, source) for one, source in self.checked)
        ids = {one.name: key for key, one in self.classes.items()}
        if new not in ids:
            return replace(self, classes={**self.classes, key: replace(self.classes[key], name=new)}, checked=checked)
        if ids[new] == key:
            return self
        class_id = np.where(self.class_id == key, ids[new], self.class_id)
        return replace(self, class_id=class_id, checked=checked).without_class(name)

    def classify(self, segments: Segments, min_confidence: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Say what segments are.

        Args:
            segments: K segments.
            min_confidence: 0 to 1; what is less sure is unknown.

        Returns:
            The class of each segment, int64 [K], 0 where it resembles no example enough; and how sure that is, float64
            [K], 0 to 1: an estimate of the probability that the name is right, and 0 where there is none.

        Raises:
            ValueError: for features of another length, from another backend.
        """
        return self.classify_features(segments.feature, min_confidence=min_confidence)

    def classify_features(
        self, feature: np.ndarray, unknown: bool = True, min_confidence: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Say what segments of these features, float32 [K, C], are; otherwise as `classify`.

        Args:
            feature: `Segments.feature`.
            unknown: whether that may be an answer; otherwise each segment gets the name that fits best.
            min_confidence: 0 to 1; what is less sure is unknown.
        """
        if not len(feature) or not len(self):
            return np.zeros(len(feature), np.int64), np.zeros(len(feature))
        self._check_width(feature.shape[1])
        class_id, confidence = self._classifier.classify(feature, unknown)
        sure = confidence >= min_confidence
        return np.where(sure, class_id, UNKNOWN), np.where(sure, confidence, 0.0)

    def prepare(self) -> None:
        """Do now what would otherwise take time in the first `classify`: it grows with the number of examples."""
        if len(self):
            _ = self._classifier

    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Classify each example by those of other images; by the other ones where its class is in no other image.

        Returns:
            As `classify`, for the examples.
        """
        if not len(self):
            return np.zeros(0, np.int64), np.zeros(0)
        return self._classifier.answers(self._classifier.left_out)

    def in_one_image(self) -> np.ndarray:
        """Return which examples are of a class that no other image shows, bool [E]."""
        images: dict[int, set[tuple[str, str, int]]] = {}
        for key, source in zip(self.class_id.tolist(), self.sources, strict=True):
            images.setdefault(key, set()).add(source.image)
        return np.array([len(images[key]) == 1 for key in self.class_id.tolist()], bool)

    def _check_width(self, channels: int) -> None:
        if len(self) and channels != self.feature.shape[1]:
            raise ValueError(
                f'features: expected {self.feature.shape[1]} channels, as the examples have, received {channels}; '
                'they are from another backend'
            )

    @cached_property
    def _classifier(self) -> '_Classifier':
        images = {image: k for k, image in enumerate(dict.fromkeys(source.image for source in self.sources))}
        of_image = np.array([images[source.image] for source in self.sources])
        return _Classifier(self.class_id, self.feature, self.score, of_image)


class _Classifier:
    """Distances to examples, and what they say.

    Args:
        class_id: int64 [E].
        feature: float32 [E, C].
        score: float64 [E].
        image: int64 [E], which image each example is from, 0, 1, ...

    Attributes:
        left_out: float64 [E, K], squared distance of each example to the nearest one of each class that has not been
            compared with itself; infinite where there is none.
    """

    def __init__(self, class_id: np.ndarray, feature: np.ndarray, score: np.ndarray, image: np.ndarray) -> None:
        self._ids, self._index = np.unique(class_id, return_inverse=True)
        self._unit = _unit(feature)
        self._shorten = _Shortening(self._unit, self._index)
        self._shortened = self._shorten(self._unit)
        self.left_out, alone = self._compare_left_out(image)
        true = np.arange(len(class_id)), self._index
        own, others = self.left_out[true], self.left_out.copy()
        others[true] = np.inf
        other = others.min(1)
        self._too_far = _too_far(own[np.isfinite(own)], other[np.isfinite(other)], score)
        self._softness = self._fit(~alone)

    def classify(self, feature: np.ndarray, unknown: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return class and confidence of features, float32 [K, C]."""
        distance = _squared_distances(self._shorten(_unit(feature)), self._shortened)
        return self.answers(self._nearest(distance, self._index), unknown)

    def answers(self, nearest: np.ndarray, unknown: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return class and confidence, given the squared distance [K, classes] to the nearest example of each class."""
        likely = self._probabilities(nearest, self._softness)[:, :-1]
        known = self._known(nearest) | (not unknown)
        return np.where(known, self._ids[likely.argmax(1)], UNKNOWN), np.where(known, likely.max(1), 0.0)

    def _known(self, nearest: np.ndarray) -> np.ndarray:
        """Return what is not too far, or far from all classes but one, bool [K]."""
        own = nearest.min(1)
        other = np.partition(nearest, 1, 1)[:, 1] if nearest.shape[1] > 1 else own
        return (own <= self._too_far) | ((own <= _STILL_KNOWN * self._too_far) & (other >= _CLEARLY_FARTHER * own))

    def _probabilities(self, nearest: np.ndarray, softness: float) -> np.ndarray:
        """Return how likely each class is, and last how likely none: as if an example of it were just too far.

        What counts is how many times as far the next class is: distances differ by orders of magnitude.
        """
        share = np.column_stack([nearest, np.full(len(nearest), self._too_far)]) / self._too_far
        energy = np.log(share + _NEAR) / softness
        weight = np.exp(energy.min(1, keepdims=True) - energy)
        return weight / weight.sum(1, keepdims=True)

    def _nearest(self, distance: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Return the least of the distances [K, E] to the examples of each class, float64 [K, classes]."""
        order = np.argsort(index, kind='stable')
        there, first = np.unique(index[order], return_index=True)
        nearest = np.full((len(distance), len(self._ids)), np.inf)
        nearest[:, there] = np.minimum.reduceat(distance[:, order], first, axis=1)
        return nearest

    def _compare_left_out(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compare examples with those of other images: those of one image are more alike than a robot's next image.

        Returns:
            `left_out`, and which examples are of a class that is in one image only, bool [E].
        """
        fold = image % min(_MOST_FOLDS, int(image.max()) + 1)
        nearest = np.full((len(image), len(self._ids)), np.inf)
        for one in range(int(fold.max()) + 1):
            asked, shown = fold == one, fold != one
            if shown.any():
                # Directions by the images of other folds alone; distances to all other images, those of the fold, too.
                shorten = _Shortening(self._unit[shown], self._index[shown])
                distance = _squared_distances(shorten(self._unit[asked]), shorten(self._unit))
                distance[image[asked][:, None] == image] = np.inf
                nearest[asked] = self._nearest(distance, self._index)
        # A class that is in one image only: its examples are compared among each other.
        alone = ~np.isfinite(nearest[np.arange(len(image)), self._index])
        if alone.any():
            distance = _squared_distances(self._shortened[alone], self._shortened)
            distance[np.arange(alone.sum()), np.flatnonzero(alone)] = np.inf
            nearest[alone] = self._nearest(distance, self._index)
        return nearest, alone

    def _fit(self, known: np.ndarray) -> float:
        """Return the softness that makes the true classes of some examples, bool [E], most likely."""
        if not known.any():
            return _DEFAULT_SOFTNESS
        nearest, true = self.left_out[known], self._index[known]
        # As if one more example could be of any class: otherwise a few, all right, would make all answers certain.
        doubt = 1 / (len(true) + 1)

        def likelihood(softness: float) -> float:
            # One example that is far off shall not decide.
            likely = np.log(np.maximum(self._probabilities(nearest, softness)[:, :-1], 1e-3))
            return float((1 - doubt) * likely[np.arange(len(true)), true].mean() + doubt * likely.mean())

        return float(max(_SOFTNESS, key=likelihood))


def _too_far(own: np.ndarray, other: np.ndarray, score: np.ndarray) -> float:
    """Return the squared distance to the nearest example beyond which nothing is known.

    Args:
        own: distances of examples to the nearest other one of their class.
        other: to the nearest one of another class. Half of that is not too far: examples of one image do not tell how
            different a thing looks in the next.
        score: of the examples: where no class has two, as far as their own cells are from their mean.
    """
    far = np.quantile(own if len(own) else 2 * (1 - score), _KNOWN_SHARE)
    halfway = np.median(other) / 2 if len(other) else 0.0
    return max(float(far), float(halfway), 2 * (1 - _ALIKE))


class _Shortening:
    """Makes directions shorter in which features of one class differ, by their regularised standard deviation there.

    Args:
        unit: float64 [E, C].
        index: int64 [E], the class of each, 0, 1, ...
    """

    def __init__(self, unit: np.ndarray, index: np.ndarray) -> None:
        count = np.bincount(index)
        mean = np.zeros((len(count), unit.shape[1]))
        np.add.at(mean, index, unit)
        mean /= np.maximum(count, 1)[:, None]
        squared, self._directions = _principal(unit - mean[index])
        telling = max(1, len(unit) - int(np.count_nonzero(count)))
        variance = squared / telling
        total = variance.sum()
        kept = _REGULARISED / telling * total
        self._lost = 1 - 1 / np.sqrt(1 + variance / kept) if total > 1e-12 else np.zeros(len(variance))

    def __call__(self, unit: np.ndarray) -> np.ndarray:
        """Return features [K, C] so shortened."""
        return unit - (unit @ self._directions.T * self._lost) @ self._directions


def _principal(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared singular values [K] above rounding, and their directions [K, C], of rows [E, C].

    By the smaller of both products with themselves: a decomposition of the rows takes many times as long.
    """
    wide = rows.shape[0] < rows.shape[1]
    squared, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    kept = squared > _ROUNDING * max(squared[-1], 0.0)
    squared, directions = squared[kept], vectors[:, kept].T
    return squared, directions @ rows / np.sqrt(squared)[:, None] if wide else directions


def _unit(feature: np.ndarray) -> np.ndarray:
    """Return features, L2-normalised, as float64."""
    wide = feature.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distances [A, B] between rows."""
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)
