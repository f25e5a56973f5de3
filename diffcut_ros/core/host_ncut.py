"""Recursive Normalized Cut on the host, compiled; symbols as in `ncut` and `eigenvectors`.

Of a subset's matrix only the triangle below the diagonal is kept, row by row, in one piece: row i has 8 (i // 8 + 1)
numbers, zeros from the diagonal on, and the number of rows is a multiple of 8, so that vector instructions leave no
rest. When the subset is split, the triangles of its parts are moved together in the same memory. Nodes of a subset keep
their order, the graph's: what is found for a subset depends on its nodes alone.

The second eigenvector: Lanczos iteration with full reorthogonalisation (Saad, "Numerical Methods for Large Eigenvalue
Problems", 2011, chapter 6), started with a vector q_1 of normally distributed numbers, without its share of t. After k
products with A there are orthonormal vectors Q = [q_1 ... q_k], all orthogonal to t, and a tridiagonal matrix T with
the diagonal alpha and beside it beta,

    A Q = Q T + beta_k q_k+1 e_k',

whose eigenvalues, the Ritz values, approach those of A from below.

What is missed, and how probably: let u be an eigenvector of A, of length 1, orthogonal to t, with an eigenvalue theta
above all Ritz values, and c_j = u' q_j. Multiplied by u', the columns of the equation say

    theta c_j = beta_j-1 c_j-1 + alpha_j c_j + beta_j c_j+1,    so that    c_k+1 = c_1 det(theta - T) / prod(beta_j).

As |c_k+1| <= 1, and as the determinant grows beyond the largest Ritz value, for each sigma between it and theta

    |c_1| <= prod(beta_j) / det(sigma - T).                                                                   (1)

But c_1 is the cosine between u and a normally distributed vector of at most n dimensions that is independent of A. Its
density is at most sqrt(n / (2 pi)) anywhere, so that |c_1| < delta / (0.8 sqrt(n)) has a probability below delta. Where
the right side of (1) is smaller than that, there is no such u but with this probability, _RISK for each subset.

It is used twice. With sigma = 1 - tau, a subset is left whole as soon as nothing is missed there, as every NCut value
is at least 1 - theta (Shi & Malik 2000, equation 5 without its condition that y takes two values only). And the vector
of the largest Ritz value is taken for the wanted one once its residual is small enough and, with sigma `_SMALLEST_GAP`
above that value, nothing is missed. That does not depend on tau: what is found for one tau is found for another.

Rounding: for what is computed the equation holds with an error F of some 1e-7. As Q is orthonormal, it holds exactly
for A + E with E = -(F Q' + Q F' - Q Q' F Q'), a symmetric matrix that moves no eigenvalue by more than 2 |F|, which
`_MARGIN` is far above. A beta of the size of F is part of E, too: then the vectors span all that q_1 has a share in.
"""

import numpy as np

from diffcut_ros.core.compiled import compiled, inlined

# Probability, for each subset, that an eigenvalue is missed, at most.
_RISK = 1e-9
# Largest angle between the vector found and the true one, which is about residual / gap of the eigenvalues.
_ANGLE = 1e-4
# A smaller residual is beyond float32; where the gap is so small that the angle stays large, any vector of the
# eigenspace is as good as another.
_SMALLEST_RESIDUAL = 2e-6
# Eigenvalues closer than this above the one found may belong to a vector that is missed: its splits cost as little.
_SMALLEST_GAP = 1e-2
# A beta below it is rounding.
_ROUNDING = 1e-6
# What rounding may change of 1 - theta and of an NCut value, and more.
_MARGIN = 1e-5
# NCut values are rounded to six decimals: sums of float32 affinities say no more. It also keeps values that are equal
# on paper, as all those of a graph without structure, equal here.
_DECIMALS = 1e6
# Difference between a node's affinity to others and theirs to it, as a share of its degree, that passes for rounding.
SYMMETRY = 1e-5
# Products before which an answer is not looked for.
_FEWEST = 8
# Vectors that there is memory for at first.
_VECTORS = 48


@inlined
def _begin(row: int) -> int:
    """Return where a row of a triangle begins."""
    eight = row // 8
    return 8 * (eight + 1) * (4 * eight + row % 8)


@inlined
def _size(n: int) -> int:
    """Return how many numbers the triangle of n nodes has."""
    return _begin((n + 7) // 8 * 8)


@inlined
def _four_rows(w: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    begin, length = _begin(row), 8 * (row // 8 + 1)
    return (
        w[begin : begin + length],
        w[begin + length : begin + 2 * length],
        w[begin + 2 * length : begin + 3 * length],
        w[begin + 3 * length : begin + 4 * length],
    )


@inlined
def _product(w: np.ndarray, itself: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Write W x to y.

    Args:
        w: a triangle.
        itself: float32 [n], the diagonal.
        x: float32 [n + 8], zeros from n on.
        y: float32 [n + 8].
    """
    n = len(itself)
    for i in range(n):
        y[i] = itself[i] * x[i]
    for i in range(0, n, 4):
        # Four at a time: y is read and written once for them.
        w0, w1, w2, w3 = _four_rows(w, i)
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        s0 = s1 = s2 = s3 = np.float32(0)
        for j in range(len(w0)):
            s0 += w0[j] * x[j]
            s1 += w1[j] * x[j]
            s2 += w2[j] * x[j]
            s3 += w3[j] * x[j]
            y[j] += w0[j] * x0 + w1[j] * x1 + w2[j] * x2 + w3[j] * x3
        y[i] += s0
        y[i + 1] += s1
        y[i + 2] += s2
        y[i + 3] += s3


@inlined
def _sums(w: np.ndarray, n: int, rank: np.ndarray, before: np.ndarray) -> None:
    """Write the affinity of each node to those of a lower rank, float64 [n + 8]; rank is int32 [n + 8]."""
    before[:] = 0
    zero = np.float32(0)
    for i in range(0, n, 4):
        w0, w1, w2, w3 = _four_rows(w, i)
        r0, r1, r2, r3 = rank[i], rank[i + 1], rank[i + 2], rank[i + 3]
        s0 = s1 = s2 = s3 = zero
        for j in range(len(w0)):
            r = rank[j]
            v0 = w0[j] if r < r0 else zero
            v1 = w1[j] if r < r1 else zero
            v2 = w2[j] if r < r2 else zero
            v3 = w3[j] if r < r3 else zero
            s0 += v0
            s1 += v1
            s2 += v2
            s3 += v3
            before[j] += (w0[j] - v0) + (w1[j] - v1) + (w2[j] - v2) + (w3[j] - v3)
        before[i] += s0
        before[i + 1] += s1
        before[i + 2] += s2
        before[i + 3] += s3


@inlined
def _degrees(w: np.ndarray, itself: np.ndarray, degree: np.ndarray) -> None:
    """Write the row sums, float64 [n + 8]; a node without any affinity gets some to itself, see `recursive_ncut`."""
    n = len(itself)
    degree[:] = 0
    for i in range(0, n, 4):
        w0, w1, w2, w3 = _four_rows(w, i)
        s0 = s1 = s2 = s3 = np.float32(0)
        for j in range(len(w0)):
            s0 += w0[j]
            s1 += w1[j]
            s2 += w2[j]
            s3 += w3[j]
            degree[j] += w0[j] + w1[j] + w2[j] + w3[j]
        degree[i] += s0
        degree[i + 1] += s1
        degree[i + 2] += s2
        degree[i + 3] += s3
    for i in range(n):
        if degree[i] + itself[i] == 0:
            itself[i] = 1
        degree[i] += itself[i]


@inlined
def _orthogonalise(basis: np.ndarray, rows: int, n: int, y: np.ndarray) -> None:
    """Take out of y, float32 [n], what it has of each of the first rows of the basis."""
    for row in range(rows):
        q, h = basis[row * n : row * n + n], np.float32(0)
        for i in range(n):
            h += q[i] * y[i]
        for i in range(n):
            y[i] -= h * q[i]


@inlined
def _length(y: np.ndarray, n: int) -> float:
    s = np.float32(0)
    for i in range(n):
        s += y[i] * y[i]
    return np.sqrt(np.float64(s))


@inlined
def _largest_ritz_value(alpha: np.ndarray, beta: np.ndarray, k: int) -> float:
    """Return the largest eigenvalue of T, by Laguerre's method, which approaches it from above."""
    x = 1.001
    for _ in range(60):
        # With det(x - T) as a product of pivots d: e = d' / d, f = d'' / d; g is the sum of 1 / (x - eigenvalue), h
        # that of their squares.
        d = e = f = 1.0
        g = h = 0.0
        for j in range(k):
            r = beta[j - 1] * beta[j - 1] / d if j else 0.0
            first, second = 1 + r * e, r * (f - 2 * e * e)
            d = x - alpha[j] - r
            if d <= 0:
                return x  # on it, but for rounding
            e, f = first / d, second / d
            g += e
            h += e * e - f
        step = k / (g + np.sqrt(max(0.0, (k - 1) * (k * h - g * g))))
        if step < 1e-9:
            return x
        x -= step
    return x


@inlined
def _ritz_vector(alpha: np.ndarray, beta: np.ndarray, k: int, x: float, d: np.ndarray, y: np.ndarray) -> None:
    """Write the eigenvector of T with the largest eigenvalue x, float64 [k], of length 1, to y; d takes as many."""
    r = 0.0
    x += 1e-10  # above it, so that all that is divided by is above 0
    for j in range(k):
        d[j] = x - alpha[j] - r
        r = beta[j] * beta[j] / d[j]
    # Where elimination from above meets that from below: the vector is largest where the least is left.
    g, least, twist = 0.0, np.inf, k - 1
    for j in range(k - 1, -1, -1):
        r = beta[j] * beta[j] / g if j < k - 1 else 0.0
        g = x - alpha[j] - r
        left = d[j] + g - (x - alpha[j])
        if left < least:
            least, twist = left, j
        y[j] = g
    for j in range(k - 1, twist, -1):
        y[j] = beta[j - 1] / y[j]
    y[twist] = 1.0
    for j in range(twist + 1, k):
        y[j] *= y[j - 1]
    for j in range(twist - 1, -1, -1):
        y[j] = y[j + 1] * beta[j] / d[j]
    s = 0.0
    for j in range(k):
        s += y[j] * y[j]
    s = 1 / np.sqrt(s)
    for j in range(k):
        y[j] *= s


@inlined
def _above(alpha: np.ndarray, beta: np.ndarray, k: int, x: float) -> tuple[int, float]:
    """Return how many Ritz values are above x, and the reciprocal of the right side of (1) for sigma = x."""
    count, growth, d = 0, 1.0, 1.0
    for j in range(k):
        d = x - alpha[j] - (beta[j - 1] * beta[j - 1] / d if j else 0.0)
        if d <= 0:
            count += 1
            d = min(d, -1e-300)
        growth *= d / max(beta[j], 1e-300)
    return count, growth


@inlined
def _second_vector(
    w: np.ndarray,
    itself: np.ndarray,
    degree: np.ndarray,
    start: np.ndarray,
    lowest: float,
    basis: np.ndarray,
    memory: np.ndarray,
) -> tuple[bool, np.ndarray, np.ndarray]:
    """Search x of a graph.

    Args:
        w: its triangle.
        itself: float32 [n], its diagonal.
        degree: float64 [n].
        start: float32 [n], normally distributed numbers.
        lowest: what theta is at least, or there is nothing to find.
        basis: float32 [any], takes t and the vectors q.
        memory: float64 [4, n + 1].

    Returns:
        Whether there is such a theta; x, float32 [n]; and the basis, perhaps another one.
    """
    n = len(itself)
    alpha, beta, work, ritz = memory[0], memory[1], memory[2], memory[3]
    scale, x, y = np.empty(n, np.float32), np.zeros(n + 8, np.float32), np.zeros(n + 8, np.float32)
    total = 0.0
    for i in range(n):
        total += degree[i]
    for i in range(n):
        scale[i] = 1 / np.sqrt(degree[i])
        basis[i] = np.sqrt(degree[i] / total)
        y[i] = start[i]
    largest_cosine = _RISK / (0.8 * np.sqrt(n))
    length = _length(y, n)
    for _ in range(2):
        for i in range(n):
            y[i] /= length
        _orthogonalise(basis, 1, n, y)
        length = _length(y, n)
    pivot, growth, below = 1.0, 1.0, True
    k = 0
    while True:
        if (k + 2) * n > len(basis):
            larger = np.empty(2 * (k + 2) * n, np.float32)
            larger[: len(basis)] = basis
            basis = larger
        q = basis[(k + 1) * n : (k + 2) * n]
        for i in range(n):
            q[i] = y[i] / length
            x[i] = scale[i] * q[i]
        _product(w, itself, x, y)
        a, whole = np.float32(0), np.float32(0)
        for i in range(n):
            y[i] *= scale[i]
            a += q[i] * y[i]
            whole += y[i] * y[i]
        last = basis[k * n : (k + 1) * n]  # t at first, which has no share
        b = np.float32(length) if k else np.float32(0)
        for i in range(n):
            y[i] -= a * q[i] + b * last[i]
        _orthogonalise(basis, k + 2, n, y)
        length = _length(y, n)
        if length * length < 1e-2 * whole:
            _orthogonalise(basis, k + 2, n, y)  # what rounding left counts for more
            length = _length(y, n)
        pivot = lowest - float(a) - (beta[k - 1] * beta[k - 1] / pivot if k else 0.0)
        alpha[k], beta[k] = a, length
        k += 1
        exhausted = length < _ROUNDING or k == n - 1
        below = below and pivot > 0
        if below:
            growth *= pivot / length
            if exhausted or growth * largest_cosine > 1:
                return False, x[:n], basis
        # Hardly any graph needs fewer products, and to look costs as much as a product of a hundred nodes.
        if k < _FEWEST and not exhausted:
            continue
        theta = _largest_ritz_value(alpha, beta, k)
        _ritz_vector(alpha, beta, k, theta, work, ritz)
        if not exhausted:
            residual = length * ritz[k - 1]
            gap = residual / _ANGLE
            if residual > _SMALLEST_RESIDUAL and (k < 2 or _above(alpha, beta, k, theta - gap)[0] != 1):
                continue
            sigma = theta + _SMALLEST_GAP
            if sigma < 1 + _MARGIN and not _above(alpha, beta, k, sigma)[1] * largest_cosine > 1:
                continue
        if theta < lowest:
            return False, x[:n], basis
        for i in range(n):
            x[i] = 0
        for j in range(k):
            q, h = basis[(j + 1) * n : (j + 2) * n], np.float32(ritz[j])
            for i in range(n):
                x[i] += h * q[i]
        for i in range(n):
            x[i] *= scale[i]
        return True, x[:n], basis


@inlined
def _best_threshold(degree: np.ndarray, before: np.ndarray, itself: np.ndarray) -> tuple[float, int]:
    n = len(degree)
    last, last_cut = np.empty(n), np.empty(n)
    assoc = cut = 0.0
    for k in range(n - 1, 0, -1):
        assoc += degree[k]
        cut -= degree[k] - itself[k] - 2 * before[k]
        last[k], last_cut[k] = assoc, cut
    best, position, balance = np.inf, 0, 0
    assoc = cut = 0.0
    for k in range(1, n):
        assoc += degree[k - 1]
        cut += degree[k - 1] - itself[k - 1] - 2 * before[k - 1]
        # Each side is summed from its own end: what is small there would drown in a sum over the whole graph.
        smaller = max(0.0, cut if assoc <= last[k] else last_cut[k])
        value = np.rint((smaller / assoc + smaller / last[k]) * _DECIMALS) / _DECIMALS
        if value < best or (value == best and min(k, n - k) > balance):
            best, position, balance = value, k, min(k, n - k)
    return best, position


@inlined
def _copy_eight(source: np.ndarray, target: np.ndarray) -> None:
    """Copy eight numbers; all are read before one is written, so that vector instructions may do it."""
    a, b, c, d, e, f, g, h = source[0], source[1], source[2], source[3], source[4], source[5], source[6], source[7]
    target[0], target[1], target[2], target[3], target[4], target[5], target[6], target[7] = a, b, c, d, e, f, g, h


@inlined
def _part(w: np.ndarray, inside: np.ndarray, nodes: np.ndarray, out: np.ndarray) -> None:
    """Move the triangle of the nodes of a part together, in their order.

    Nodes that follow each other are copied together, eight at a time, up to seven numbers too many. These are written
    over by what follows, and what they are written over is no longer needed: row i of the part comes from row i, which
    then does not move, or from one behind row i + 1.

    Args:
        w: the triangle of all n nodes; seven numbers behind it may be read.
        inside: bool [n], whether a node is in the part.
        nodes: int64 [n], written to.
        out: takes the triangle of the part, and seven numbers more; may begin where w does.
    """
    m = sequences = 0
    # Of each sequence of nodes: the first one, and its place in the part.
    first, place = np.empty((2, len(inside) + 1), np.int64)
    for i in range(len(inside)):
        if inside[i]:
            if i == 0 or not inside[i - 1]:
                first[sequences], place[sequences] = i, m
                sequences += 1
            nodes[m] = i
            m += 1
    place[sequences] = m
    last = 0
    for a in range(m):
        if place[last + 1] == a:
            last += 1
        source, begin = _begin(nodes[a]), _begin(a)
        for k in range(last + 1):
            shift = first[k] - place[k]
            for j in range(place[k], min(place[k + 1], a), 8):
                _copy_eight(w[source + shift + j : source + shift + j + 8], out[begin + j : begin + j + 8])
        out[begin + a : _begin(a + 1)] = 0
    out[_begin(m) : _size(m)] = 0


@compiled(
    'int64(float32[:, ::1], int64[::1], int64, float64, float32[::1], float32[::1], int64[::1], int64[::1], '
    'int64[::1], int64[:, ::1], float64[::1], int64[::1], int64[::1], int64)'
)
def grow(
    affinity: np.ndarray,
    rows: np.ndarray,
    index: int,
    tau: float,
    start_vector: np.ndarray,
    memory: np.ndarray,
    order: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    children: np.ndarray,
    ncut: np.ndarray,
    middle: np.ndarray,
    depth: np.ndarray,
    count: int,
) -> int:
    """Split a node of a tree, and its parts, while their best split has an NCut value below tau.

    Args:
        affinity: float32 [N, N].
        rows: int64 [n], where the nodes of the tree node, in their order, are in it.
        index: of the tree node.
        tau: threshold.
        start_vector: float32 [n], normally distributed numbers.
        memory: float32 [`memory_for(n)`].
        order, start, stop, children, ncut, middle, depth: of `SegmentTree`, with room for all splits; changed in place.
        count: number of tree nodes.

    Returns:
        The number of tree nodes.
    """
    n = len(rows)
    whole = n == len(affinity)
    for a in range(n):
        whole = whole and rows[a] == a
    for a in range(n):
        row, begin = affinity[rows[a]], _begin(a)
        # Not `memory[begin : begin + a] = row[:a]`, for which Numba takes three times as long.
        left = memory[begin : begin + a]
        for j in range(a):
            left[j] = row[j] if whole else row[rows[j]]
        memory[begin + a : _begin(a + 1)] = 0
    memory[_begin(n) : _size(n)] = 0
    # By position in `order`, from that of the first node on.
    offset, itself = start[index], np.empty(n, np.float32)
    for i in range(n):
        itself[i] = affinity[rows[i], rows[i]]
    basis = np.empty(_VECTORS * n, np.float32)
    numbers, sums = np.empty((4, n + 1)), np.empty((3, n))
    degree_, before_, rank_ = np.empty(n + 8), np.empty(n + 8), np.zeros(n + 8, np.int32)
    inside_, nodes = np.empty(n, np.bool_), np.empty(n, np.int64)
    # Of two parts the larger one waits, while all memory behind it is free: no more wait than the logarithm of n.
    waiting, begins = np.empty(64, np.int64), np.empty(64, np.int64)
    waiting[0], begins[0], top = index, 0, 1
    while top:
        top -= 1
        index, begin = waiting[top], begins[top]
        first, n = start[index], stop[index] - start[index]
        if n < 2:
            continue
        w, own = memory[begin : begin + _size(n)], itself[first - offset : first - offset + n]
        degree, before, rank, inside = degree_[: n + 8], before_[: n + 8], rank_[: n + 8], inside_[:n]
        _degrees(w, own, degree)
        found, x, basis = _second_vector(w, own, degree, start_vector, 1 - tau - _MARGIN, basis, numbers)
        if not found:
            continue
        by_x = np.argsort(x, kind='mergesort')
        for k in range(n):
            rank[by_x[k]] = k
        _sums(w, n, rank, before)
        for k in range(n):
            i = by_x[k]
            sums[0, k], sums[1, k], sums[2, k] = degree[i], before[i], own[i]
        value, k = _best_threshold(sums[0, :n], sums[1, :n], sums[2, :n])
        for i in range(n):
            inside[i] = rank[i] < k
        middle_ = first + k
        moved, moved_itself = order[first : first + n].copy(), own.copy()
        places = first, middle_
        for part in range(2):
            place = places[part]
            for i in range(n):
                if inside[i] == (part == 0):
                    order[place], itself[place - offset] = moved[i], moved_itself[i]
                    place += 1
        ncut[index], middle[index] = value, middle_
        if value >= tau:
            continue
        for part in range(2):
            child = count + part
            children[index, part] = child
            children[child, 0] = children[child, 1] = -1
            start[child] = first if part == 0 else middle_
            stop[child] = middle[child] = middle_ if part == 0 else first + n
            depth[child], ncut[child] = depth[index] + 1, np.inf
        larger = 0 if 2 * k > n else 1
        large, small = max(k, n - k), min(k, n - k)
        # The smaller part behind the triangle, the larger one in place, the smaller one after it.
        if small > 1:
            for i in range(n):
                inside[i] = inside[i] != (larger == 0)
            _part(w, inside, nodes, memory[begin + _size(n) :])
            for i in range(n):
                inside[i] = inside[i] != (larger == 0)
        if large > 1:
            for i in range(n):
                inside[i] = inside[i] == (larger == 0)
            _part(w, inside, nodes, w)
            waiting[top], begins[top] = count + larger, begin
            top += 1
        if small > 1:
            behind = begin + _size(large)
            source, target = memory[begin + _size(n) :], memory[behind : behind + _size(small)]
            for i in range(len(target)):
                target[i] = source[i]
            waiting[top], begins[top] = count + 1 - larger, behind
            top += 1
        count += 2
    return count


def memory_for(n: int) -> int:
    """Return how many numbers `grow` computes in for n nodes: a triangle, that of half of them, and what fills rows."""
    return 5 * n * n // 8 + 20 * n + 4096


@compiled('Tuple((float64, int64))(float64[::1], float64[::1], float64[::1])')
def best_threshold(degree: np.ndarray, before: np.ndarray, itself: np.ndarray) -> tuple[float, int]:
    """Return the lowest NCut value of all thresholds on x, and the number k of nodes below that threshold.

    In the order of x, a threshold is a position k: the first k nodes against the rest. From one position to the next a
    single node i changes sides, so that cut and association of all positions are cumulative sums,

        cut(k) - cut(k - 1) = sum_{j after i} W_ij - sum_{j before i} W_ij,    assoc(k) - assoc(k - 1) = d_i.

    Of several positions with the same value the one that divides the nodes most evenly is taken.

    Args:
        degree: float64 [n], n >= 2, of the nodes in the order of x.
        before: float64 [n], affinity of each to those before it.
        itself: float64 [n], affinity of each to itself.
    """
    return _best_threshold(degree, before, itself)


@compiled('float32[::1](float32[:, ::1], float32[::1])')
def second_eigenvector(affinity: np.ndarray, start_vector: np.ndarray) -> np.ndarray:
    """Return x, float32 [n], of a graph.

    Args:
        affinity: float32 [n, n], n >= 2, symmetric, without a node of degree 0.
        start_vector: float32 [n] or longer, normally distributed numbers.
    """
    n = len(affinity)
    w, itself, degree = np.zeros(_size(n), np.float32), np.empty(n, np.float32), np.empty(n + 8)
    for a in range(n):
        w[_begin(a) : _begin(a) + a] = affinity[a, :a]
        itself[a] = affinity[a, a]
    _degrees(w, itself, degree)
    basis, numbers = np.empty(_VECTORS * n, np.float32), np.empty((4, n + 1))
    return _second_vector(w, itself, degree, start_vector, -2.0, basis, numbers)[1]


@compiled('boolean(float32[:, ::1])')
def is_plain(affinity: np.ndarray) -> bool:
    """Return whether a matrix, float32 [n, n], is symmetric, with entries 0 to 1e30, some of them above 1e-30."""
    n = len(affinity)
    # W r = W' r for a vector r without small entries; its changing signs keep the sums, and their rounding, small. To
    # compare all entries would take as long as several products.
    r, above, below, degree = np.empty(n, np.float32), np.empty(n), np.zeros(n), np.empty(n)
    for i in range(n):
        fraction = i * 0.618034 % 1
        r[i] = fraction - 1 if fraction < 0.5 else fraction
    right = large = 0
    for i in range(n):
        row, ri, s, d = affinity[i], r[i], np.float32(0), np.float32(0)
        for j in range(n):
            v = row[j]
            right += (v >= 0) & (v < 1e30)
            large += v > 1e-30
            s += v * r[j]
            d += v
            below[j] += v * ri
        above[i], degree[i] = s, d
    if right < n * n or not large:
        return False
    wrong = 0
    for i in range(n):
        wrong += abs(above[i] - below[i]) > SYMMETRY * degree[i]
    return wrong == 0
