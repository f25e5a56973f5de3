"""The second eigenvector of a graph, for large graphs on any device and for small ones on the host.

Symbols as in `ncut`. With y = D^1/2 x, the generalised problem (D - W) x = lambda D x becomes the symmetric one

    A y = theta y,    A = D^-1/2 W D^-1/2,    theta = 1 - lambda,

whose largest eigenvalue, 1, belongs to the known vector t = D^1/2 1. The wanted y is the next one.

Large graphs: subspace iteration (Saad, "Numerical Methods for Large Eigenvalue Problems", 2011, chapters 5 and 7). A
block Y of vectors is multiplied by a Chebyshev polynomial of A that is small on the unwanted part of the spectrum
(`amplify`), then the best eigenvectors within its span are taken (`RitzPairs`, Rayleigh-Ritz). It suits the task
because the parts of a split inherit their parent's block, which holds most of what they look for, and because all that
touches the device are a few products with W per round.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import lapack

# Vectors per block. A product of W with 16 vectors takes the time of 3 products with a single one (2 CPU cores, 1024
# nodes: 0.28 ms and 0.10 ms); with 32 vectors it takes 5, and the wider block does not save as many rounds.
BLOCK = 16
# The angle between the vector found and the true one is about residual / gap of the eigenvalues.
_ANGLE = 2e-3
# A smaller residual is beyond float32; where the gap is so small that the angle stays large, any vector of the
# eigenspace is as good as another.
_SMALLEST_RESIDUAL = 2e-6
_LARGEST_DEGREE = 24
# Amplification beyond which rounding errors would fill the block with copies of its first vector.
_LARGEST_AMPLIFICATION = 1e6
_ROUNDS = 12
# Round from which on eigenvalues down to -1 are expected; affinities of features have hardly any below 0.
_CAUTIOUS_ROUND = 4


class Graph:
    """A connected or unconnected subset of nodes with its block of approximate eigenvectors.

    A node without any affinity gets one to itself, in place: it is a part of its own that can be cut off at no cost.

    Args:
        affinity: float32 [n, n].
        block: float32 [n, BLOCK], a start for the iteration.
    """

    def __init__(self, affinity: torch.Tensor, block: torch.Tensor) -> None:
        degree = affinity.sum(1)
        isolated = (degree == 0).to(affinity.dtype)
        affinity.diagonal().add_(isolated)
        self.affinity, self.block = affinity, block
        self.degree = degree + isolated
        self._scale = self.degree.rsqrt()[:, None]
        self._trivial = self.degree.sqrt()
        self._trivial = self._trivial / self._trivial.norm()

    def gram_matrix(self) -> torch.Tensor:
        """Return Z^T Z, float64 [2 BLOCK, 2 BLOCK], for Z = [Y, A Y]; Y is made orthogonal to t before."""
        self.block = self.block - torch.outer(self._trivial, self._trivial @ self.block)
        image = self._scale * (self.affinity @ (self._scale * self.block))
        # Differences of these products tell the residual: float64 keeps what they leave.
        both = torch.cat([self.block, image], 1).double()
        return both.T @ both

    def combine(self, weights: np.ndarray) -> None:
        """Replace Y by Y @ weights, float64 [BLOCK, BLOCK]."""
        self.block = self.block @ torch.from_numpy(weights).to(self.block)

    def amplify(self, low: float, high: float, degree: int) -> None:
        """Replace Y by T(A) Y, T the Chebyshev polynomial that stays within -1 and 1 for eigenvalues low to high."""
        middle, half = (low + high) / 2, (high - low) / 2
        # In x = D^-1/2 y a product is D^-1 W x: one scaling instead of two.
        previous = self._scale * self.block
        inverse = self._scale**2
        current = (self.affinity @ previous).mul_(inverse / half).sub_(previous, alpha=middle / half)
        factor = 2 / half * inverse
        for _ in range(degree - 1):
            following = (self.affinity @ current).mul_(factor).sub_(current, alpha=2 * middle / half).sub_(previous)
            previous, current = current, following
        self.block = current / self._scale

    def second_eigenvector(self) -> torch.Tensor:
        """Return x [n], the first vector of the block."""
        return self.block[:, 0] * self._scale[:, 0]


@dataclass(frozen=True)
class RitzPairs:
    """The best approximations of eigenpairs of A within the span of a block.

    Attributes:
        values: float64 [r], falling; r <= BLOCK, the numerical rank of the block.
        weights: float64 [BLOCK, BLOCK], the block times this is orthonormal, best vector first; unused columns are 0.
        residual: norm of A y - theta y for the first pair.
    """

    values: np.ndarray
    weights: np.ndarray
    residual: float

    @staticmethod
    def of(gram: np.ndarray) -> 'RitzPairs':
        """Compute them from `Graph.gram_matrix`."""
        n = len(gram) // 2
        norm = np.sqrt(np.maximum(np.diag(gram)[:n], 1e-300))
        gram = gram / np.tile(norm, 2) / np.tile(norm, 2)[:, None]
        inner, product, image = gram[:n, :n], gram[:n, n:], gram[n:, n:]
        size, directions = np.linalg.eigh(inner)
        independent = size > 1e-10 * size[-1]
        basis = directions[:, independent] / np.sqrt(size[independent])
        values, rotation = np.linalg.eigh(basis.T @ (product + product.T) @ basis / 2)
        values, pairs = values[::-1], (basis @ rotation)[:, ::-1]
        best = pairs[:, 0]
        squared = best @ image @ best - 2 * values[0] * (best @ product @ best) + values[0] ** 2
        weights = np.zeros((n, n))
        weights[:, : len(values)] = pairs / norm[:, None]
        return RitzPairs(values, weights, float(np.sqrt(max(squared, 0.0))))

    def next_step(self, cautious: bool) -> tuple[float, float, int]:
        """Return the arguments of `Graph.amplify` that should make the residual small enough."""
        high = max(self.values[-1], 0.02 * self.values[0])
        low = -1.0 if cautious else min(-0.02 * high, 1.2 * self.values[-1])
        rate = np.arccosh(max((2 * self.values[0] - low - high) / (high - low), 1.0001))
        wanted = max(4 * self.residual / self.tolerance, 4.0)
        largest = min(_LARGEST_DEGREE, np.arccosh(_LARGEST_AMPLIFICATION) / rate)
        return low, high, int(max(2, min(np.ceil(np.arccosh(wanted) / rate), largest)))

    @property
    def tolerance(self) -> float:
        """Residual that is small enough."""
        gap = self.values[0] - self.values[1] if len(self.values) > 1 else 0.0
        return max(_ANGLE * gap, _SMALLEST_RESIDUAL)


def solve(graphs: list[Graph], tau: float) -> list[torch.Tensor | None]:
    """Return the second eigenvector x of each graph, or None for one that no split below tau exists for.

    Each round asks the device for the Gram matrices of all graphs at once; nothing else is waited for.

    Args:
        graphs: of any sizes; their blocks become the eigenvectors found.
        tau: every NCut value of a graph is at least 1 - theta (Shi & Malik 2000, equation 11): a graph whose theta is
            too small for tau is not iterated further.
    """
    found: list[torch.Tensor | None] = [None] * len(graphs)
    active = list(range(len(graphs)))
    for round_ in range(_ROUNDS):
        grams = torch.stack([graphs[i].gram_matrix() for i in active]).cpu().numpy()
        unfinished = []
        for i, gram in zip(active, grams, strict=True):
            pairs = RitzPairs.of(gram)
            graphs[i].combine(pairs.weights)
            # The residual bounds how far theta may still move; a tenth leaves room for a block that misses a vector.
            if pairs.residual < 0.1 * (1 - tau - pairs.values[0]):
                continue
            if pairs.residual < pairs.tolerance:
                found[i] = graphs[i].second_eigenvector()
            else:
                graphs[i].amplify(*pairs.next_step(cautious=round_ >= _CAUTIOUS_ROUND))
                unfinished.append(i)
        active = unfinished
        if not active:
            return found
    for i in active:
        affinity = graphs[i].affinity.double().cpu().numpy()
        found[i] = torch.from_numpy(dense_second_eigenvector(affinity, affinity.sum(1))).to(graphs[i].block)
    return found


def dense_second_eigenvector(affinity: np.ndarray, degree: np.ndarray) -> np.ndarray:
    """Return x, float64 [n], of a small graph by LAPACK's dsyevr, which computes no other eigenvector.

    Args:
        affinity: float64 [n, n].
        degree: float64 [n], its row sums, above 0.

    Raises:
        RuntimeError: if LAPACK does not converge, which no finite input is known to bring about.
    """
    n = len(affinity)
    root = np.sqrt(degree)
    matrix = affinity / root / root[:, None]
    trivial = root / np.linalg.norm(root)
    # Taking the known eigenvector out makes the wanted one the largest.
    matrix -= np.outer(trivial, trivial)
    _, vectors, _, _, info = lapack.dsyevr(matrix, range='I', il=n, iu=n, overwrite_a=1)
    if info:
        raise RuntimeError(f'dsyevr: no eigenvector of a graph of {n} nodes, info {info}')
    return vectors[:, 0] / root
