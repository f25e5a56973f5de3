"""What an encoder consists of, wherever it was read from."""

from dataclasses import dataclass, field

import torch

from diffcut_ros.features.files import Json
from diffcut_ros.features.weights import Weights


@dataclass(frozen=True)
class DiffusionEncoder:
    """Weights and settings of everything up to the self-attention layer, on the CPU.

    Attributes:
        source: where it comes from, as text: 'model', 'revision', 'licence', ...
        layer: module path of the self-attention in the UNet.
        unet_config: configuration of the UNet2DConditionModel.
        unet: weights of `UNetEncoder`.
        vaes: 'full' and 'tiny', those there are -> (configuration, weights of `ImageEncoder`).
        prompt: [1, T, C], embedding of the empty prompt.
        pooled: [1, P], its pooled embedding, for SDXL types.
        alphas_cumprod: float32 [steps], share of the signal that is left after each step of the noise schedule.
    """

    source: dict[str, str]
    layer: str
    unet_config: Json
    unet: Weights = field(repr=False)
    vaes: dict[str, tuple[Json, Weights]] = field(repr=False)
    prompt: torch.Tensor = field(repr=False)
    pooled: torch.Tensor | None = field(repr=False)
    alphas_cumprod: torch.Tensor = field(repr=False)
