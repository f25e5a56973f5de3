"""What was guessed of a camera's images, because their messages do not say it."""

from typing import Any

import numpy as np

from diffcut_ros.stream.value_range import Range, find_values, next_range, to_8_bits

# Kinds may hold names from messages.
_MOST_NOTES = 100


class Guesses:
    """What was guessed of a camera's images so far, and holds for the next ones.

    Attributes:
        notes: as text, one of each kind.
        ranges: which values are shown from black to white, by what they are of.
    """

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}
        self.ranges: dict[str, Range] = {}

    def note(self, kind: str, text: str) -> None:
        """Add a note, if there is none of its kind yet, and not too many others."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.setdefault(kind, text)

    def to_8_bits(self, values: np.ndarray, of: str) -> np.ndarray:
        """Return an image's values as uint8: as they are, or over a range that moves with them; see `value_range`.

        Args:
            values: [H, W] or [H, W, C].
            of: what they are of, such as the encoding.
        """
        if values.dtype == np.uint8:
            return values
        found, shown = find_values(values), self.ranges.get(of)
        if found is not None:
            before, shown = shown, next_range(shown, found, values.dtype.kind in 'iu')
            if before is None and shown != (0, 65535):
                low, _, high = (f'{value:.6g}' for value in found)
                first, last = (f'{value:.6g}' for value in shown)
                self.note(
                    f'range of {of}',
                    f'{of} image of values {low} to {high}: shown over {first} to {last}, which follows the values',
                )
            self.ranges[of] = shown
        return to_8_bits(values, shown or (0.0, 1.0))

    def save(self) -> tuple[Any, ...]:
        """Return all of it as plain values, which stay as they are."""
        return dict(self.notes), dict(self.ranges)

    def load(self, state: tuple[Any, ...]) -> None:
        """Go on with what was saved.

        Raises:
            ValueError, TypeError, AttributeError: for something else.
        """
        notes, ranges = state
        self.notes, self.ranges = dict(notes), {of: (low, high) for of, (low, high) in ranges.items()}
        if not all(isinstance(text, str) for text in self.notes.values()):
            raise ValueError('notes: expected texts, received others')
        for low, high in self.ranges.values():
            if not (isinstance(low, int | float) and isinstance(high, int | float) and -np.inf < low < high < np.inf):
                raise ValueError(f'range of values: expected two rising numbers, received {low!r}, {high!r}')
