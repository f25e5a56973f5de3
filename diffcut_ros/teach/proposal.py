"""Which segment to ask about: the one whose name would tell most about all others."""

import numpy as np

# Segments that are looked at closer: those of most pixels in doubt.
_CANDIDATES = 1500
# Of the segments, as a sample, that tell how alike is alike; and the nearest of how many count.
_SAMPLE, _NEAREST = 400, 5
# Power of doubt: what is unknown counts more than what is half sure. On CamVid, 2 takes fewer questions than 1 or 0.5;
# see benchmarks/*_teach_page.md.
_DOUBT = 2


def most_instructive(
    feature: np.ndarray, area: np.ndarray, confidence: np.ndarray, left: np.ndarray, passed: np.ndarray
) -> int | None:
    """Choose a segment: where doubt times area, of all that is like it, is the largest.

    Uncertainty weighed by density: Settles and Craven, "An Analysis of Active Learning Strategies for Sequence Labeling
    Tasks", EMNLP 2008, section 3.4, with pixels as the mass of each segment.

    Args:
        feature: float32 [S, C].
        area: float64 [S], the pixels, or a share of them.
        confidence: float64 [S], 0 to 1, of what each is called now; 0: unknown.
        left: bool [S], which may be chosen.
        passed: bool [S], for which somebody has no name: for what is like them, neither.

    Returns:
        Its index; None where none is left.
    """
    if not left.any():
        return None
    unit = feature / np.maximum(np.linalg.norm(feature, axis=1, keepdims=True), 1e-12)
    width = _width(unit)

    def similar(some: np.ndarray) -> np.ndarray:
        return np.exp(-np.maximum(0, 2 - 2 * unit[some] @ unit.T) / width)

    doubt = (1 - confidence) ** _DOUBT
    if passed.any():
        doubt = doubt * (1 - similar(np.flatnonzero(passed)).max(0))
    open_area = area * doubt
    asked = np.flatnonzero(left)
    asked = asked[np.argsort(-open_area[asked], kind='stable')[:_CANDIDATES]]
    return int(asked[(doubt[asked] * (similar(asked) @ open_area)).argmax()])


def _width(unit: np.ndarray) -> float:
    """Return the squared distance within which segments are alike: the median to the nearest few."""
    sample = unit[:: max(1, len(unit) // _SAMPLE)]
    distance = np.maximum(0, 2 - 2 * sample @ unit.T)
    nearest = np.sort(distance, axis=1)[:, min(_NEAREST, len(unit) - 1)]
    return max(float(np.median(nearest)), 1e-6)
