"""What other values of tau would give, from stored hierarchies: counts, and how much segments change."""

from collections.abc import Iterable, Sequence

import numpy as np
from sklearn.metrics import adjusted_rand_score

from diffcut_ros.analysis.hierarchies import Hierarchy


def sweep_rows(hierarchies: Iterable[Hierarchy], taus: Sequence[float]) -> list[tuple]:
    """Return the values of `tables.SWEEP`, a row for each tau; hierarchies come one at a time, in order.

    Segments are those of the cut: a hierarchy knows cells, not which of their pixels are connected.

    Raises:
        ValueError: for a tau beyond a hierarchy's.
    """
    counts: list[dict[int, int]] = [{} for _ in taus]
    in_time, in_tau = _Mean(len(taus)), _Mean(len(taus))
    before: tuple[tuple[int, int], list[np.ndarray]] | None = None
    for hierarchy in hierarchies:
        cuts = [hierarchy.cut(tau) for tau in taus]
        for index, cut in enumerate(cuts):
            count = int(cut.max()) + 1
            counts[index][count] = counts[index].get(count, 0) + 1
            if index:
                in_tau.add(index, adjusted_rand_score(cuts[index - 1], cut))
            if before is not None and before[0] == hierarchy.grid_hw:
                in_time.add(index, adjusted_rand_score(before[1][index], cut))
        before = hierarchy.grid_hw, cuts
    if before is None:
        return []
    return [
        (tau, *_statistics(counts[index]), in_time.value(index), in_tau.value(index)) for index, tau in enumerate(taus)
    ]


class _Mean:
    """Means of several quantities, from values that come one at a time."""

    def __init__(self, quantities: int) -> None:
        self._sum, self._number = np.zeros(quantities), np.zeros(quantities)

    def add(self, quantity: int, value: float) -> None:
        self._sum[quantity] += value
        self._number[quantity] += 1

    def value(self, quantity: int) -> float | None:
        return float(self._sum[quantity] / self._number[quantity]) if self._number[quantity] else None


def _statistics(counts: dict[int, int]) -> tuple[float, float, float, float]:
    """Return mean, 5th percentile, median and 95th percentile of numbers, given how often each occurs."""
    values = np.repeat(list(counts), list(counts.values()))
    return float(values.mean()), *(float(value) for value in np.percentile(values, (5, 50, 95)))
