"""The paper's way from image to features, written plainly: what our extractor is compared with."""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel

from diffcut_ros.benchmarks.random_weights import draw_weights
from diffcut_ros.features.diffusion.encoder import DiffusionEncoder


class PlainPipeline:
    """Runs the whole UNet with a hook, after a VAE in float32, as the authors do; weights are random.

    The prompt's embedding is computed once, which is to the paper's advantage.

    Args:
        encoder: whose configurations, prompt and schedule are taken.
        input_hw: height and width of the network's input.
        timestep: diffusion step.
        device: where it runs; the UNet in float16 on a GPU (as the authors), else in float32.
    """

    def __init__(
        self, encoder: DiffusionEncoder, input_hw: tuple[int, int], timestep: int, device: torch.device
    ) -> None:
        self._input_hw, self._timestep, self._device = input_hw, timestep, device
        self._precision = torch.float16 if device.type == 'cuda' else torch.float32
        vae_config, _ = encoder.vaes['full']
        with torch.device('meta'):
            vae, unet = AutoencoderKL.from_config(vae_config), UNet2DConditionModel.from_config(encoder.unet_config)
        self._vae = draw_weights(vae).to(device).eval()
        self._unet = draw_weights(unet, self._precision).to(device).eval()
        self._scaling = vae.config.scaling_factor
        self._signal = float(encoder.alphas_cumprod[timestep])
        self._prompt = encoder.prompt.to(device, self._precision)
        self._conditions = {}
        if encoder.pooled is not None:
            sizes = torch.tensor([[*input_hw, 0, 0, *input_hw]], device=device, dtype=self._precision)
            pooled = encoder.pooled.to(device, self._precision)
            self._conditions['added_cond_kwargs'] = {'text_embeds': pooled, 'time_ids': sizes}
        self._unet.get_submodule(encoder.layer).register_forward_hook(self._keep)
        self._kept: torch.Tensor | None = None

    def _keep(self, module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        self._kept = output

    def upload(self, image_rgb: np.ndarray) -> torch.Tensor:
        """Return an image as the network sees it, float32 [1, 3, *input_hw], -1 to 1."""
        image = torch.from_numpy(image_rgb).to(self._device).permute(2, 0, 1)[None] / 255
        return 2 * F.interpolate(image, self._input_hw, mode='bilinear') - 1

    def latents(self, images: torch.Tensor) -> torch.Tensor:
        """Return noisy latents."""
        latents = self._vae.encode(images).latent_dist.mean * self._scaling
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(42)).to(self._device)
        return self._signal**0.5 * latents + (1 - self._signal) ** 0.5 * noise

    def features(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the hooked features, float32 [N, C]."""
        step = torch.tensor([self._timestep], device=self._device)
        latents = latents.to(self._precision)
        self._unet(latents, step, encoder_hidden_states=self._prompt, **self._conditions)
        return self._kept[0].float()
