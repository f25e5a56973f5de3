"""What an encoder consists of, wherever it was read from."""

from dataclasses import dataclass, field

import torch

from diffcut_ros.features.diffusion.files import Json

Weights = dict[str, torch.Tensor]


def check_weights(where: str, weights: Weights, expected: Weights) -> None:
    """Check that weights have the names and shapes that the configuration asks for.

    Args:
        where: what they belong to; for the error.
        weights: that were found.
        expected: of the network, on any device.

    Raises:
        ValueError: naming the first one that is missing, of another shape or too many.
    """
    for name in sorted(weights.keys() | expected.keys()):
        wanted, found = (list(held[name].shape) if name in held else 'none' for held in (expected, weights))
        if wanted != found:
            raise ValueError(f'{where}: {name}: expected {wanted} by the configuration, found {found}; get both again')


@dataclass(frozen=True)
class DiffusionEncoder:
    """Weights and settings of everything up to the self-attention layer, on the CPU.

    Attributes:
        source: where it comes from, for people: 'model', 'revision', 'licence', ...
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
