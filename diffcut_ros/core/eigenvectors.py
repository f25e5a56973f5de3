"""The second eigenvector of large graphs on a GPU; on the host it is found by `host_ncut`.

Symbols as in `ncut`. With y = D^1/2 x, the generalised problem (D - W) x = lambda D x becomes the symmetric one

    A y = theta y,    A = D^-1/2 W D^-1/2,    theta = 1 - lambda,

whose largest eigenvalue, 1, belongs to the known vector t = D^1/2 1. The wanted y is the next one.

Subspace iteration (Saad, "Numerical Methods for Large Eigenvalue Problems", 2011, chapters 5 and 7). A
block Y of vectors is multiplied by a Chebyshev polynomial of A that is small on the unwanted part of the spectrum
(`amplify`), then the best eigenvectors within its span are taken (`RitzPairs`, Rayleigh-Ritz). It suits the task
because the parts of a split inherit their parent's block, which holds most of what they look for, and because all that
touches the device are a few products with W per round.

A small residual says that a vector belongs to some eigenvalue, not that there is none above it: a block may miss the
wanted vector altogether. `Probes` bounds what it may miss, and nothing is decided without that bound.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import lapack
from scipy.special import gammaincinv

from diffcut_ros.core.host_ncut import second_eigenvector

# Vectors per block. A product of W with 16 vectors takes the time of 3 products with a single one (2 CPU cores, 1024
# nodes: 0.28 ms and 0.10 ms); with 32 vectors it takes 5, and the wider block does not save as many rounds.
BLOCK = 16
# Vectors of the block that are drawn anew for each part, in case it needs some that its parent's block does not hold.
# They are what the bound of `Probes` rests on.
FRESH = 5
# Probability, for each graph, that `Probes.exclude` is wrong, at most.
_RISK = 1e-7
# Largest angle between the vector found and the true one, which is about residual / gap of the eigenvalues. 2e-3 gave
# worse splits than exact vectors did in 3 of 2400 cases, 1e-4 in none of 3800 (graphs of 576 and 1024 nodes).
_ANGLE = 1e-4
# A smaller residual is beyond float32; where the gap is so small that the angle stays large, any vector of the
# eigenspace is as good as another.
_SMALLEST_RESIDUAL = 2e-6
# Eigenvalues closer than this to the one found may belong to a vector that is missed: its splits cost as little.
_SMALLEST_GAP = 1e-2
_LARGEST_DEGREE = 24
# Amplification beyond which rounding errors would fill the block with copies of its first vector.
_LARGEST_AMPLIFICATION = 1e6
_LARGEST_BEFORE_OVERFLOW = 1e30
_SMALLEST_GROWTH = math.acosh(1.0001)
# What rounding leaves of t, some 1e-7, may grow by so much more than the wanted vector before it is taken out again. A
# graph of few distinct nodes, such as flat colours, has a theta near 0, beside which t would fill the block.
_LARGEST_TRIVIAL = 1e4
# Length of the part of a unit vector that others do not explain, from which on it counts as another direction.
_INDEPENDENT = 1e-5
# Rounds after which the host takes over; nearly all graphs need 1 to 3.
_ROUNDS = 12
# Round from which on eigenvalues down to -1 are expected; affinities of features have hardly any below 0.
_CAUTIOUS_ROUND = 4


class Graph:
    """A subset of nodes with its block of approximate eigenvectors.

    Args:
        affinity: float32 [n, n].
        degree: float32 [n], its row sums, above 0.
        block: float32 [n, BLOCK], a start for the iteration.
        fresh: how many of the block's last vectors are normally distributed random numbers, at least 1.
    """

    def __init__(self, affinity: torch.Tensor, degree: torch.Tensor, block: torch.Tensor, fresh: int) -> None:
        self.affinity, self.degree, self.block, self.fresh = affinity, degree, block, fresh
        self._scale = degree.rsqrt()[:, None]
        self._trivial = degree.sqrt()
        self._trivial = self._trivial / self._trivial.norm()

    def gram_matrix(self) -> torch.Tensor:
        """Return Z^T Z, float64 [2 BLOCK, 2 BLOCK], for Z = [Y, A Y]; Y is made orthogonal to t before."""
        self.block = torch.addr(self.block, self._trivial, self._trivial @ self.block, alpha=-1)
        self._image = self._scale * (self.affinity @ (self._scale * self.block))
        # Differences of these products tell the residual: float64 keeps what they leave.
        both = torch.cat([self.block, self._image], 1).double()
        return both.T @ both

    def combine(self, weights: torch.Tensor) -> None:
        """Replace Y by Y @ weights, float32 [BLOCK, r], and fresh vectors where r < BLOCK."""
        self.block, self._image = self.block @ weights, self._image @ weights
        missing = BLOCK - weights.shape[1]
        if missing:
            self.block = torch.cat([self.block, fresh_vectors(len(self.degree), missing).to(self.block)], 1)

    def amplify(self, low: float, high: float, degree: int, deflate: bool, memory: torch.Tensor | None) -> None:
        """Replace Y by T(A) Y, T the Chebyshev polynomial that stays within -1 and 1 for eigenvalues low to high.

        With `deflate`, t is taken out of Y after each product with A; it costs a tenth of a product with 1024 nodes.
        For `memory` see `solve`.
        """
        middle, half = (low + high) / 2, (high - low) / 2
        # In x = D^-1/2 y a product is D^-1 W x: one scaling instead of two.
        previous = self._scale * self.block
        inverse = self._scale**2
        current = (self._scale * self._image).sub_(previous, alpha=middle).div_(half)
        factor = 2 / half * inverse
        fused = None
        if _launch_bound(self.affinity):
            fused = _whole_step(self.affinity, factor, 2 * middle / half, memory)
        share = (self.degree / self.degree.sum())[None]  # here t is a constant vector
        for _ in range(degree - 1):
            if fused is not None:
                following = torch.addmm(previous, fused, current, beta=-1)
            else:
                following = (self.affinity @ current).mul_(factor)
                following.sub_(current, alpha=2 * middle / half).sub_(previous)
            if deflate:
                following -= share @ following
            previous, current = current, following
        self.block = current / self._scale

    def second_eigenvector(self) -> torch.Tensor:
        """Return x [n], the first vector of the block."""
        return self.block[:, 0] * self._scale[:, 0]


def _launch_bound(matrix: torch.Tensor) -> bool:
    """Return whether an operation on a block takes as long as one on the matrix, as it does on a GPU, by its launch."""
    return matrix.device.type == 'cuda'


def _whole_step(
    affinity: torch.Tensor, factor: torch.Tensor, shift: float, memory: torch.Tensor | None
) -> torch.Tensor:
    """Return the matrix [n, n] by which a step of `Graph.amplify` is a single product; for `memory` see `solve`."""
    n = len(affinity)
    matrix = torch.mul(affinity, factor, out=None if memory is None else memory[:n, :n])
    matrix.diagonal().sub_(shift)
    return matrix


def fresh_vectors(n: int, count: int) -> torch.Tensor:
    """Return pseudo-random vectors, float32 [n, count]: always the same, on all devices, as the host draws them."""
    return torch.randn(n, count, generator=torch.Generator().manual_seed(0))


class Probes:
    """Random vectors G that went into a block, by which to exclude that it misses an eigenvalue.

    The block's Ritz vectors span P G = Y C, where P is the product of all the polynomials of A that it was multiplied
    by, and A y_j = theta_j y_j + r_j. Let u be an eigenvector of A of length 1 with a value theta_u >= theta > theta_j.
    Then u' y_j = u' r_j / (theta_u - theta_j), and as all polynomials grow beyond what they make small,

        P(theta) |u' G|  <=  |u' P G|  =  |u' Y C|  <=  sum_j |r_j| |C_j| / (theta - theta_j).

    |u' G| is the length of a vector of independent standard normal numbers, one for each probe, and below some small
    number with the probability _RISK only. So where the right side is below P(theta) times that number, there is no
    such u. Bounds of this kind: Halko, Martinsson & Tropp, "Finding structure with randomness", SIAM Review 2011,
    section 4.3. A subset depends on the affinity alone, not on the probes: they are independent of its eigenvectors.

    Args:
        count: number of probes, the last vectors of the block.
    """

    def __init__(self, count: int) -> None:
        self._coordinates = np.eye(BLOCK)[:, BLOCK - count :]
        self._log_smallest = _log_smallest_length(count)
        self._filters: list[tuple[float, float, int]] = []

    def turn(self, inner: np.ndarray, weights: np.ndarray) -> None:
        """Follow the block Y into the orthonormal basis Y @ weights [BLOCK, r] of it; `inner` is Y' Y."""
        kept = weights.T @ inner @ self._coordinates
        self._coordinates = np.concatenate([kept, np.zeros((BLOCK - len(kept), kept.shape[1]))])

    def amplify(self, low: float, high: float, degree: int) -> None:
        """Follow the block through `Graph.amplify`."""
        self._filters.append((low, high, degree))

    def log_missing(self, pairs: 'RitzPairs', theta: float) -> float:
        """Return log(right side / left side) of the bound for an eigenvalue of theta or more; below 0 it is excluded.

        Infinity where theta is not above all Ritz values and all that polynomials made small.
        """
        distance = theta - pairs.values
        if distance[0] <= 0 or any(theta < high for _, high, _ in self._filters):
            return math.inf
        length = np.sqrt((self._coordinates[: len(distance)] ** 2).sum(1))
        right = float((pairs.residuals * length / distance).sum())
        gain = sum(log_amplification(theta, *arguments) for arguments in self._filters)
        return math.log(max(right, 1e-300)) - gain - self._log_smallest


@functools.cache
def _log_smallest_length(count: int) -> float:
    """Return the log of what the length of so many standard normal numbers is below with the probability _RISK."""
    return math.log(2 * gammaincinv(count / 2, _RISK)) / 2  # of the chi distribution


def log_amplification(theta: float, low: float, high: float, degree: int) -> float:
    """Return log T(theta) of the polynomial of `Graph.amplify`, for theta of at least `high`."""
    x = degree * growth(theta, low, high)
    return x + math.log1p(math.exp(-2 * x)) - math.log(2)


def growth(theta: float, low: float, high: float) -> float:
    """Return by how much a degree more of the polynomial of `Graph.amplify` adds to log T(theta), for large degrees."""
    return math.acosh(max((2 * theta - low - high) / (high - low), 1.0))


@dataclass(frozen=True)
class RitzPairs:
    """The best approximations of eigenpairs of A within the span of a block.

    Attributes:
        values: float64 [r], falling; r <= BLOCK, the numerical rank of the block.
        weights: float64 [BLOCK, r], the block times this is orthonormal, best vector first.
        residuals: float64 [r], norm of A y - theta y for each pair.
    """

    values: np.ndarray
    weights: np.ndarray
    residuals: np.ndarray

    @staticmethod
    def of(gram: np.ndarray) -> 'RitzPairs':
        """Compute them from `Graph.gram_matrix`."""
        n = len(gram) // 2
        norm = np.sqrt(np.diag(gram)[:n])
        norm[norm == 0] = 1
        twice = np.concatenate([norm, norm])
        gram = gram / twice / twice[:, None]
        inner, product, image = gram[:n, :n], (gram[:n, n:] + gram[n:, :n]) / 2, gram[n:, n:]
        values, pairs = _eigenpairs(product, inner)
        squared = ((image @ pairs) * pairs).sum(0) - values**2  # of A y - theta y, as pairs' inner pairs = 1
        return RitzPairs(values, pairs / norm[:, None], np.sqrt(np.maximum(squared, 0)))

    def next_step(self, round_: int, probes: Probes) -> tuple[float, float, int, bool]:
        """Return the arguments of `Graph.amplify` that should make `settled` true, in rounds 0, 1, ...

        They do not depend on tau, so that what is found for one tau is what is found for another.
        """
        # In the first round the last vectors are fresh, and their values say nothing of the spectrum.
        last = -1 if round_ else -1 - FRESH
        high = max(self.values[last], 0.02 * abs(self.values[0]), _SMALLEST_RESIDUAL)
        low = -1.0 if round_ >= _CAUTIOUS_ROUND else min(-0.02 * high, 1.2 * self.values[-1])
        # An eigenvalue near -1 that the block does not show yet is amplified most, as 1 is by the polynomial mirrored.
        rate, next_rate, hidden = (
            max(growth(*arguments), _SMALLEST_GROWTH)
            for arguments in ((self.values[0], low, high), (self.next_value, low, high), (1.0, -high, -low))
        )
        wanted = max(
            math.acosh(max(4 * self.residuals[0] / self.tolerance, 2.0)) / rate,
            (probes.log_missing(self, self.next_value) + math.log(16)) / next_rate,
        )
        largest = min(
            _LARGEST_DEGREE, math.acosh(_LARGEST_AMPLIFICATION) / rate, math.acosh(_LARGEST_BEFORE_OVERFLOW) / hidden
        )
        degree = int(max(1, min(math.ceil(min(wanted, _LARGEST_DEGREE)), largest)))
        # After a round without success, theta may be that of t.
        trivial = growth(1.0, low, high)
        return low, high, degree, bool(round_ or degree * (trivial - rate) > math.log(_LARGEST_TRIVIAL))

    def settled(self, probes: Probes) -> bool:
        """Return whether the first vector is the wanted one, and not only some eigenvector."""
        return self.residuals[0] < self.tolerance and probes.log_missing(self, self.next_value) < 0

    @property
    def next_value(self) -> float:
        """An eigenvalue that a vector beside the first is noticed at."""
        return self.values[0] + max(self._gap, _SMALLEST_GAP)

    @property
    def tolerance(self) -> float:
        """Residual that is small enough."""
        return max(_ANGLE * self._gap, _SMALLEST_RESIDUAL)

    @property
    def _gap(self) -> float:
        return self.values[0] - self.values[1] if len(self.values) > 1 else 0.0


def _eigenpairs(product: np.ndarray, inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solve H u = theta G u for symmetric [n, n] with unit diagonal of G; return theta [r], falling, and u [n, r].

    The rank r of G is smaller than n where columns of the block depend on each other.
    """
    factor, dependent = lapack.dpotrf(inner)
    if not dependent and np.diag(factor).min() > _INDEPENDENT:
        values, pairs, info = lapack.dsygvd(product, inner)
        if not info:
            return values[::-1], pairs[:, ::-1]
    size, directions = np.linalg.eigh(inner)
    kept = size > _INDEPENDENT**2 * size[-1]
    basis = directions[:, kept] / np.sqrt(size[kept])
    values, rotation = np.linalg.eigh(basis.T @ product @ basis)
    return values[::-1], (basis @ rotation)[:, ::-1]


def solve(graphs: list[Graph], tau: float, memory: torch.Tensor | None = None) -> list[torch.Tensor | None]:
    """Return the second eigenvector x of each graph, or None for one that no split below tau exists for.

    Each round asks the device for the Gram matrices of all graphs at once; nothing else is waited for.

    Args:
        graphs: of any sizes; their blocks become the eigenvectors found.
        tau: every NCut value of a graph is at least 1 - theta (Shi & Malik 2000, equation 5 without its condition that
            y takes two values only): the iteration ends where `Probes` exclude a theta that is large enough for tau.
        memory: float32 [N, N], to be overwritten, at least as large as each graph, or None to take new one; a GPU needs
            it.
    """
    found: list[torch.Tensor | None] = [None] * len(graphs)
    probes = [Probes(graph.fresh) for graph in graphs]
    active = list(range(len(graphs)))
    for round_ in range(_ROUNDS):
        grams = torch.stack([graphs[i].gram_matrix() for i in active]).cpu().numpy()
        found_pairs = [RitzPairs.of(gram) for gram in grams]
        # In one piece: to copy weights to a device waits for all that it was asked before, here for nothing.
        weights = np.concatenate([pairs.weights for pairs in found_pairs], 1, dtype=np.float32)
        ranks = [len(pairs.values) for pairs in found_pairs]
        weights = torch.from_numpy(weights).to(graphs[0].block.device).split(ranks, 1)
        unfinished = []
        for i, gram, pairs, own in zip(active, grams, found_pairs, weights, strict=True):
            graphs[i].combine(own)
            probes[i].turn(gram[:BLOCK, :BLOCK], pairs.weights)
            if len(pairs.values) < BLOCK:
                unfinished.append(i)  # the fresh vectors have not been looked at yet
            elif probes[i].log_missing(pairs, 1 - tau) < 0:
                continue
            elif pairs.settled(probes[i]):
                found[i] = graphs[i].second_eigenvector()
            else:
                low, high, degree, deflate = pairs.next_step(round_, probes[i])
                probes[i].amplify(low, high, degree)
                graphs[i].amplify(low, high, degree, deflate, memory)
                unfinished.append(i)
        active = unfinished
        if not active:
            return found
    for i in active:
        affinity = np.ascontiguousarray(graphs[i].affinity.cpu().numpy())
        x = second_eigenvector(affinity, fresh_vectors(len(affinity), 1)[:, 0].numpy())
        found[i] = torch.from_numpy(x).to(graphs[i].block)
    return found
