"""The colour of each track id, and which id a new segment gets so that its colour differs from its neighbours'.

The colour of an id is always the same, so overlays, videos, reports, markers and viewers agree without asking each
other, and so does a bag that is opened years later. A segment keeps its id, whatever comes beside it; so it is when a
segment gets its id that colours can be kept apart.
"""

import cv2
import numpy as np

from diffcut_ros.core.compiled import compiled, inlined

# Of colours in CIELAB; hues in turns, by the golden section, which keeps those of close numbers far apart.
_LIGHTNESSES, _HUE_STEP, _MOST_CHROMA, _SAME = (35, 60, 85), (3 - 5**0.5) / 2, 92, 1.5
# Of linear RGB, as seen without red and without green cones: Vienot, Brettel, Mollon, "Digital video colourmaps for
# checking the legibility of displays by dichromats", 1999.
_SEEN_AS = (
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0.11238, 0.88762, 0), (0.11238, 0.88762, 0), (0.00401, -0.00401, 1)),
    ((0.29275, 0.70725, 0), (0.29275, 0.70725, 0), (-0.02234, 0.02234, 1)),
)
# Colours that differ by less, in CIE94, look alike in small or distant areas.
_ALIKE = 22.0
# So many numbers a new segment can choose from.
COLOR_CHOICE = 12


def segment_colors(count: int) -> np.ndarray:
    """Return distinct colours for labels 0..count, the same for a label in every image.

    Three lightnesses in turn, which colour-blind people see, too.

    Returns:
        uint8 [count + 1, 3] RGB; label 0 (none) is black.
    """
    number = np.arange(count)
    lightness = np.array(_LIGHTNESSES, np.float32)[number % len(_LIGHTNESSES)]
    hue = 2 * np.pi * (number * _HUE_STEP % 1)
    colors = np.zeros((count, 3), np.float32)
    # The strongest colour of this lightness and hue that there is: CIELAB holds more than RGB, which cuts the rest off.
    for chroma in range(0, _MOST_CHROMA, 2):
        lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], 1, dtype=np.float32)[None]
        rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
        there = np.abs(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB) - lab).max(2)[0] < _SAME
        colors[there] = rgb[0, there]
    return np.concatenate([np.zeros((1, 3), np.uint8), np.rint(255 * colors).astype(np.uint8)])


# Track ids grow as long as a node runs: colours come again after so many.
_COLORS = segment_colors(1000)[1:]


def number_colors(numbers: np.ndarray) -> np.ndarray:
    """Return the colour of each track id or label.

    Args:
        numbers: integers [...] from 1.

    Returns:
        uint8 [..., 3] RGB.
    """
    return _COLORS[(numbers - 1) % len(_COLORS)]


def _as_seen() -> np.ndarray:
    """Return L, a and b of each colour, to people who see all colours, no red and no green: float64 [3, colours, 3]."""
    linear = (_COLORS / 255) ** 2.4  # nearly sRGB's; undone below, so that what is seen in full is exact
    seen = [np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.4) for matrix in _SEEN_AS]
    return cv2.cvtColor(np.array(seen, np.float32), cv2.COLOR_RGB2LAB).astype(np.float64)


_LAB = _as_seen()


def give_numbers(numbers: np.ndarray, near: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Give numbers to segments that have none, in their order.

    Each gets the first of the next 12 candidates whose colour differs from those of its neighbours, to colour-blind
    people, too; where there is none, the one that differs most.

    Args:
        numbers: int64 [K], from 1; 0 = none yet.
        near: bool [K, K], which are neighbours; symmetric.
        candidates: int64 [M], M at least as many as there are zeros.

    Returns:
        int64 [K], a new array without zeros.
    """
    given = np.array(numbers, np.int64)
    _give(given, np.ascontiguousarray(near), np.array(candidates, np.int64), _LAB)
    return given


@inlined
def _difference(lab: np.ndarray, first: int, second: int) -> float:
    """Return how much two colours differ in CIE94, to those who see the least difference."""
    least = np.inf
    for seen in range(lab.shape[0]):
        a, b = lab[seen, first], lab[seen, second]
        chroma_a, chroma_b = np.hypot(a[1], a[2]), np.hypot(b[1], b[2])
        chroma, by_chroma = np.sqrt(chroma_a * chroma_b), chroma_a - chroma_b
        by_hue = max(0.0, (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2 - by_chroma**2)
        squared = (a[0] - b[0]) ** 2 + (by_chroma / (1 + 0.045 * chroma)) ** 2 + by_hue / (1 + 0.015 * chroma) ** 2
        least = min(least, squared)
    return float(np.sqrt(least))


@compiled('void(int64[::1], boolean[:, ::1], int64[::1], float64[:, :, ::1])')
def _give(numbers: np.ndarray, near: np.ndarray, candidates: np.ndarray, lab: np.ndarray) -> None:
    """Write numbers where there are none; sets the candidates that are given to 0."""
    colors = lab.shape[1]
    for segment in range(len(numbers)):
        if numbers[segment] > 0:
            continue
        best, best_difference, choices = -1, -1.0, 0
        for i in range(len(candidates)):
            if candidates[i] == 0:
                continue
            difference = np.inf
            for other in range(len(numbers)):
                if near[segment, other] and numbers[other] > 0:
                    pair = _difference(lab, (candidates[i] - 1) % colors, (numbers[other] - 1) % colors)
                    difference = min(difference, pair)
            if difference > best_difference:
                best, best_difference = i, difference
            choices += 1
            if difference >= _ALIKE or choices == COLOR_CHOICE:
                break
        numbers[segment], candidates[best] = candidates[best], 0
