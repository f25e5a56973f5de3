"""Images on their way to a network."""

import numpy as np
import torch
import torch.nn.functional as F


def upload(images_rgb: list[np.ndarray], size_hw: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Return images on a device, resized (bilinear, antialiased).

    Args:
        images_rgb: B images of any sizes, uint8 [H, W, 3].
        size_hw: height and width that all get.
        device: where they are resized, too.

    Returns:
        float32 [B, 3, *size_hw], 0 to 255.
    """
    resized = []
    for image in images_rgb:
        pixels = torch.from_numpy(np.require(image, requirements=['C', 'W']))  # PyTorch warns of read-only arrays
        if device.type == 'cuda':
            # From pinned memory the copy runs beside the host; PyTorch keeps and reuses these blocks.
            pixels = pixels.pin_memory().to(device, non_blocking=True)
        planes = pixels.permute(2, 0, 1)[None].float()
        resized.append(F.interpolate(planes, size_hw, mode='bilinear', antialias=True))
    return torch.cat(resized)
