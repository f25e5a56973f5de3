"""Image encoders: pixels to latents. The decoders do not exist."""

from inspect import signature

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import nn

from diffcut_ros.features.files import Json


class ImageEncoder(nn.Module):
    """Maps images to latents as the UNet was trained on them: the posterior's mean, scaled.

    Its parameters are on the meta device, without memory, until `load_state_dict(..., assign=True)`.

    Args:
        config: configuration of an AutoencoderKL (the full VAE of a checkpoint) or AutoencoderTiny (TAESD).

    Attributes:
        channels: of the latents.
        downsampling: side of the image over side of the latents.
        overflows_in_float16: whether the checkpoint says so (SDXL's does).

    Raises:
        ValueError: for another kind of autoencoder.
    """

    def __init__(self, config: Json) -> None:
        super().__init__()
        kinds = {'AutoencoderKL': AutoencoderKL, 'AutoencoderTiny': AutoencoderTiny}
        if config.get('_class_name') not in kinds:
            raise ValueError(f'VAE: expected {" or ".join(kinds)}, found {config.get("_class_name")!r}')
        kind = kinds[config['_class_name']]
        with torch.device('meta'):
            # AutoencoderTiny writes a value into its configuration that it warns of when it reads it.
            vae = kind.from_config({name: config[name] for name in config if name in signature(kind).parameters})
        self.encoder = vae.encoder
        # Only the full one gives mean and log variance, mixed by a last convolution in most checkpoints.
        self._gives_variance = isinstance(vae, AutoencoderKL)
        self.quant_conv = getattr(vae, 'quant_conv', None)
        known = vae.config
        if known.get('latents_mean') or known.get('latents_std'):
            raise ValueError('VAE: expected one scaling_factor for all channels, found latents_mean or latents_std')
        self.channels = known.latent_channels
        self.downsampling = 2 ** (len(known.get('encoder_block_out_channels') or known.block_out_channels) - 1)
        self.overflows_in_float16 = bool(known.force_upcast)
        self._shift, self._scale = known.shift_factor or 0.0, known.scaling_factor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return latents [B, channels, H / downsampling, W / downsampling] of images [B, 3, H, W] in [-1, 1]."""
        latents = self.encoder(images)
        if self.quant_conv is not None:
            latents = self.quant_conv(latents)
        if self._gives_variance:
            latents = latents.chunk(2, 1)[0]
        return (latents - self._shift) * self._scale
