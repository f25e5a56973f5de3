"""Recursive Normalized Cut (Shi & Malik 2000; DiffCut, section 3.2).

    symbol      meaning
    W           affinity matrix of the current subset V, symmetric, entries >= 0
    D, d        diagonal matrix of the degrees d_i = sum_j W_ij
    x           solution of (D - W) x = lambda D x with the second smallest lambda
    assoc(A)    sum of d_i over A, the weight that connects A to V
    NCut(A, B)  cut(A, B) / assoc(A) + cut(A, B) / assoc(B), for the two parts of V

The threshold on x with the lowest NCut splits V, if that value is below tau; both parts are split in turn.
"""

import numpy as np
import torch

from diffcut_ros.core.tree import SegmentTree

# Below this size a dense eigendecomposition costs no more than the iteration.
_DENSE_SIZE = 96
_LANCZOS_STEPS = 120
# Residual of an eigenpair at which float32 has little left to give.
_TOLERANCE = 2e-5


def recursive_ncut(affinity: torch.Tensor, tau: float = 0.5) -> SegmentTree:
    """Split a graph recursively while the best split has an NCut value below tau.

    Args:
        affinity: float tensor [N, N], N >= 1, symmetric, entries >= 0; see `affinity_matrix`.
        tau: the largest threshold of interest, 0 to 2; the tree can be cut at any smaller one.

    Returns:
        The hierarchy, with the NCut value of every split.

    Raises:
        ValueError: for a matrix that is not square, empty, or holds NaN, infinite or negative entries.
    """
    if affinity.ndim != 2 or affinity.shape[0] != affinity.shape[1] or affinity.shape[0] < 1:
        raise ValueError(f'affinity: expected a square matrix [N, N] with N >= 1, received {tuple(affinity.shape)}')
    low, high = affinity.aminmax()
    if not (low >= 0 and torch.isfinite(high)):
        raise ValueError(f'affinity: expected finite entries of at least 0, received {float(low)} to {float(high)}')

    n = affinity.shape[0]
    order = np.empty(n, np.int64)
    start, stop, children, ncut, depth = [0], [n], [(-1, -1)], [], [0]
    subsets = [torch.arange(n, device=affinity.device)]
    for i, nodes in enumerate(subsets):  # grows while it runs: breadth first, parents before children
        value, part = best_split(affinity[nodes[:, None], nodes])
        ncut.append(value)
        if value >= tau:
            order[start[i] : stop[i]] = nodes.cpu().numpy()
            continue
        # Graph nodes stay sorted within a subset, so the part that holds the first one holds the lowest.
        first, second = (nodes[part], nodes[~part]) if part[0] else (nodes[~part], nodes[part])
        middle = start[i] + len(first)
        children[i] = (len(subsets), len(subsets) + 1)
        subsets += [first, second]
        start += [start[i], middle]
        stop += [middle, stop[i]]
        children += [(-1, -1)] * 2
        depth += [depth[i] + 1] * 2
    return SegmentTree(tau, order, np.array(start), np.array(stop), np.array(children), np.array(ncut), np.array(depth))


def best_split(affinity: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Return the lowest NCut value over all thresholds of the second eigenvector, with the part below the threshold.

    Args:
        affinity: float tensor [n, n] of one subset.

    Returns:
        The NCut value, infinity for n = 1, and a bool tensor [n].
    """
    n = affinity.shape[0]
    if n == 1:
        return float('inf'), torch.ones(1, dtype=torch.bool, device=affinity.device)
    degree = affinity.sum(1)
    rank = torch.argsort(_second_eigenvector(affinity, degree), stable=True)
    # Sums over thousands of entries are subtracted below: float64 keeps what the subtraction leaves.
    assoc = torch.cumsum(degree[rank].double(), 0)
    lower = torch.tril(affinity[rank[:, None], rank], -1).sum(1).double()
    inside = torch.cumsum(2 * lower + affinity.diagonal()[rank].double(), 0)
    a, b = assoc[:-1], assoc[-1] - assoc[:-1]
    cut = (a - inside[:-1]).clamp_(min=0)
    # Nodes without any affinity have assoc 0: parting with them costs nothing.
    value = torch.where(a > 0, cut / a, 0.0) + torch.where(b > 0, cut / b, 0.0)
    best = int(torch.argmin(value))
    part = torch.zeros(n, dtype=torch.bool, device=affinity.device)
    part[rank[: best + 1]] = True
    return float(value[best]), part


def _second_eigenvector(affinity: torch.Tensor, degree: torch.Tensor) -> torch.Tensor:
    """Return x [n] for the second smallest lambda of (D - W) x = lambda D x.

    With y = D^1/2 x it is the second largest eigenvector of the symmetric matrix D^-1/2 W D^-1/2, whose largest is
    known: D^1/2 1.
    """
    scale = torch.where(degree > 0, degree.clamp(min=1e-30).rsqrt(), 0.0)
    matrix = affinity * scale * scale[:, None]
    trivial = degree.sqrt() / degree.sum().clamp(min=1e-30).sqrt()
    y = _lanczos(matrix, trivial) if len(degree) > _DENSE_SIZE else None
    if y is None:
        # Taking the known eigenvector out makes the wanted one the largest.
        y = torch.linalg.eigh(matrix.double() - torch.outer(trivial, trivial).double())[1][:, -1].to(matrix.dtype)
    return y * scale


def _lanczos(matrix: torch.Tensor, trivial: torch.Tensor) -> torch.Tensor | None:
    """Return the largest eigenvector of a symmetric matrix [n, n] orthogonal to `trivial` [n], or None.

    Lanczos iteration with full reorthogonalisation; None says that it did not converge, as for an eigenvalue that is
    repeated or nearly so.
    """
    n = len(trivial)
    steps = min(_LANCZOS_STEPS, n - 1)
    basis = matrix.new_zeros(steps + 2, n)
    basis[0] = trivial
    # A fixed start makes results repeat; irrational steps keep it from being orthogonal to structured vectors.
    vector = torch.frac(torch.arange(1, n + 1, device=matrix.device, dtype=torch.float64) * 0.6180339887498949) - 0.5
    vector = vector.to(matrix.dtype)
    alphas, betas = [], []
    for step in range(steps):
        known = basis[: step + 1]
        for _ in range(2):  # twice is enough: once leaves rounding errors that grow
            vector = vector - known.T @ (known @ vector)
        norm = float(vector.norm())
        if step:
            betas.append(norm)
        converged = norm < 1e-6
        if step and (converged or step % 10 == 0 or step == steps - 1):
            tridiagonal = np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
            ritz = np.linalg.eigh(tridiagonal)[1][:, -1]
            if converged or betas[-1] * abs(ritz[-1]) < _TOLERANCE:
                return torch.as_tensor(ritz, dtype=matrix.dtype, device=matrix.device) @ basis[1 : step + 1]
        elif converged:
            return None
        basis[step + 1] = vector / norm
        vector = matrix @ basis[step + 1]
        alphas.append(float(vector @ basis[step + 1]))
    return None
