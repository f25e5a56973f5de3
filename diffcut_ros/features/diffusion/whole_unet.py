"""A checkpoint's image encoder and whole UNet: what the encoder alone does not have."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel

from diffcut_ros.core.memory import Result, within_memory
from diffcut_ros.features.diffusion.checkpoint import read_unet
from diffcut_ros.features.diffusion.config import DiffusionConfig
from diffcut_ros.features.diffusion.extractor import DiffusionExtractor
from diffcut_ros.features.diffusion.load import load_checkpoint
from diffcut_ros.features.hub import locate


class WholeUnet:
    """Runs a whole UNet on images, at one step and with the empty prompt, for those who listen to its layers.

    Args:
        name: a checkpoint's folder, a known name or a model id; see `create_extractor`.
        config: settings.
        device: where everything runs.
        noise: whether images are given the noise of the step.

    Attributes:
        network: the UNet, a UNet2DConditionModel.
        input_hw: height and width of its input.
        grid_hw: rows and columns of cells in the attention layers that run at present.
        device: where everything runs.

    Raises:
        ValueError: saying what was found, what was expected and what to do.
        MemoryError: when the device has too little memory.
    """

    def __init__(self, name: str, config: DiffusionConfig, device: torch.device, noise: bool = True) -> None:
        folder = locate(name, config.allow_download, name)
        tiny_vae = config.tiny_vae if config.vae == 'tiny' else None
        encoder = load_checkpoint(name, config.layer, tiny_vae, config.allow_download)
        if not noise:
            # With all of the signal left at every step, its latents have no noise.
            encoder = replace(encoder, alphas_cumprod=torch.ones_like(encoder.alphas_cumprod))
        self._extractor = DiffusionExtractor(encoder, config, device)
        self.network, self.device, self.input_hw = read_unet(folder), device, self._extractor.input_hw
        precision = self._extractor.precision
        self.network.requires_grad_(False).eval()
        # Not `network.to`, which warns of casts although this network has no part that needs float32.
        self.within_memory(lambda: torch.nn.Module.to(self.network, device, precision))
        self._step = torch.tensor([config.timestep], device=device)
        self._conditions: dict[str, Any] = {'encoder_hidden_states': encoder.prompt.to(device, precision)}
        if encoder.pooled is not None:
            sizes = torch.tensor([[*self.input_hw, 0, 0, *self.input_hw]], device=device, dtype=precision)
            pooled = encoder.pooled.to(device, precision)
            self._conditions['added_cond_kwargs'] = {'text_embeds': pooled, 'time_ids': sizes}
        self.grid_hw = (0, 0)
        for module in self.network.modules():
            if isinstance(module, Transformer2DModel):
                module.register_forward_pre_hook(self._enter)

    def run(self, image_rgb: np.ndarray) -> None:
        """Run the network on an image, uint8 [H, W, 3] RGB; its layers' hooks and processors see what they want."""
        latents = self._extractor.latents(self._extractor.upload([image_rgb]))
        self.network(latents, self._step, **self._conditions)

    def within_memory(self, function: Callable[[], Result]) -> Result:
        """Return what the function returns.

        Raises:
            MemoryError: when the device has too little memory.
        """
        height, width = self.input_hw
        advice = f'the whole network at input {width}x{height} needs more; take a smaller input_size'
        return within_memory(function, self.device, advice)

    def _enter(self, module: Transformer2DModel, inputs: tuple[torch.Tensor, ...]) -> None:
        # The layers inside see the cells in one row.
        height, width = inputs[0].shape[-2:]
        self.grid_hw = height, width
