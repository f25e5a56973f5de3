"""The paper's procedure from features to labels, written plainly: what `core` is compared with."""

import numpy as np
import torch
import torch.nn.functional as F

_LABEL_SIZE = 128


@torch.inference_mode()
def plain_ncut(affinity: torch.Tensor, tau: float) -> np.ndarray:
    """Cut a graph as the authors do: all eigenvectors of each subset, then 100 thresholds one by one.

    Args:
        affinity: float32 [N, N], symmetric, positive degrees, on any device.
        tau: subsets whose best split has a lower NCut value are split.

    Returns:
        int64 [N] labels, 0..K-1.
    """
    labels = np.zeros(len(affinity), np.int64)
    todo = [torch.arange(len(affinity), device=affinity.device)]
    done = 0
    while todo:
        nodes = todo.pop()
        value, part = _split(affinity[nodes][:, nodes]) if len(nodes) > 1 else (np.inf, None)
        if value < tau:
            todo += [nodes[part], nodes[~part]]
        else:
            labels[nodes.cpu().numpy()] = done
            done += 1
    return labels


def _split(affinity: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Return the lowest NCut value of 100 thresholds and the part, bool [n]."""
    degree = torch.diag(affinity.sum(1))
    scale = torch.diag(degree.diagonal() ** -0.5)
    laplacian = degree - affinity
    x = scale @ torch.linalg.eigh(scale @ laplacian @ scale)[1][:, 1]
    values, parts = [], []
    for threshold in torch.linspace(0.99 * float(x.min()), 0.99 * float(x.max()), 100):
        part = x > float(threshold)
        # NCut as a Rayleigh quotient (Shi & Malik 2000, equation 5).
        share = degree.diagonal()[part].sum() / degree.sum()
        y = torch.where(part, 1.0, -share / (1 - share))
        values.append(float((y @ laplacian @ y) / (y @ degree @ y)))
        parts.append(part)
    best = int(np.nanargmin(values))  # NaN where a threshold parts nothing
    return values[best], parts[best]


def plain_affinity(features: torch.Tensor, alpha: float = 10.0) -> torch.Tensor:
    """Return the affinity matrix, float32 [N, N], of features [N, C]."""
    unit = F.normalize(features, dim=1)
    similarity = unit @ unit.T
    return ((similarity - similarity.min()) / (similarity.max() - similarity.min())) ** alpha


def plain_assignment(features: torch.Tensor, grid_hw: tuple[int, int], labels: np.ndarray) -> np.ndarray:
    """Return label values [128, 128] of cells' labels [N] and features [N, C], by upsampling the features."""
    unit = F.normalize(features, dim=1)
    cells = torch.from_numpy(labels).to(features.device)
    means = torch.stack([unit[cells == label].mean(0) for label in cells.unique()])
    upsampled = F.interpolate(unit.T.reshape(1, -1, *grid_hw), (_LABEL_SIZE, _LABEL_SIZE), mode='bilinear')[0]
    return (means @ upsampled.flatten(1)).argmax(0).reshape(_LABEL_SIZE, _LABEL_SIZE).cpu().numpy()
