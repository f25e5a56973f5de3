"""The networks of known checkpoints with random weights: right in size and shape, so right in time and memory."""

import torch
from torch import nn

from diffcut_ros.features.diffusion.encoder import DiffusionEncoder
from diffcut_ros.features.diffusion.unet import UNetEncoder
from diffcut_ros.features.diffusion.vae import ImageEncoder

_SSD_1B = {
    'sample_size': 128,
    'block_out_channels': (320, 640, 1280),
    'down_block_types': ('DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'),
    'up_block_types': ('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'),
    'layers_per_block': 2,
    'transformer_layers_per_block': [1, [2, 2], [4, 4]],
    'reverse_transformer_layers_per_block': [[4, 4, 10], [2, 1, 1], 1],
    'mid_block_type': None,
    'attention_head_dim': [5, 10, 20],
    'cross_attention_dim': 2048,
    'use_linear_projection': True,
    'addition_embed_type': 'text_time',
    'addition_time_embed_dim': 256,
    'projection_class_embeddings_input_dim': 2816,
}
_SD_1 = {
    'sample_size': 64,
    'block_out_channels': (320, 640, 1280, 1280),
    'down_block_types': ('CrossAttnDownBlock2D',) * 3 + ('DownBlock2D',),
    'up_block_types': ('UpBlock2D',) + ('CrossAttnUpBlock2D',) * 3,
    'layers_per_block': 2,
    'cross_attention_dim': 768,
    'attention_head_dim': 8,
}
_VAE = {
    '_class_name': 'AutoencoderKL',
    'block_out_channels': (128, 256, 512, 512),
    'down_block_types': ('DownEncoderBlock2D',) * 4,
    'up_block_types': ('UpDecoderBlock2D',) * 4,
    'layers_per_block': 2,
    'latent_channels': 4,
}
_TINY_VAE = {'_class_name': 'AutoencoderTiny'}

# name -> configuration of the UNet, scaling factor of the VAE, size of the pooled embedding (SDXL types)
_MODELS = {'ssd-1b': (_SSD_1B, 0.13025, 1280), 'sd1.4': (_SD_1, 0.18215, None)}


def random_encoder(name: str) -> DiffusionEncoder:
    """Return the encoder of a known checkpoint, its weights drawn at random.

    Raises:
        ValueError: for a checkpoint whose networks are not known here.
    """
    if name not in _MODELS:
        raise ValueError(f'--random-weights: expected one of {", ".join(_MODELS)}, received {name!r}')
    config, scaling, pooled = _MODELS[name]
    unet = draw_weights(UNetEncoder(config))
    configs = {'full': {**_VAE, 'scaling_factor': scaling}, 'tiny': _TINY_VAE}
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return DiffusionEncoder(
        source={'model': f'{name} with random weights'},
        layer=unet.layer,
        unet_config=config,
        unet=unet.state_dict(),
        vaes={kind: (vae, draw_weights(ImageEncoder(vae)).state_dict()) for kind, vae in configs.items()},
        prompt=torch.randn(1, 77, config['cross_attention_dim'], generator=torch.Generator().manual_seed(0)),
        pooled=None if pooled is None else torch.zeros(1, pooled),
        alphas_cumprod=torch.cumprod(1 - betas, 0).float(),
    )


def draw_weights(network: nn.Module, precision: torch.dtype = torch.float32) -> nn.Module:
    """Give a network on the meta device memory and random weights that keep activations near 1; returns it."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = parameter.data.to(precision)
    network.to_empty(device='cpu')
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.fill_(0.0 if name.endswith('bias') else 1.0)
    return network
