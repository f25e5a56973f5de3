"""The UNet up to one self-attention layer; whatever comes after it does not exist.

The blocks are those of `diffusers`, under the names that they have in a checkpoint.
"""

import textwrap
from typing import Any

import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from diffcut_ros.features.files import Json

_BLOCKS = ('DownBlock2D', 'CrossAttnDownBlock2D')
# Conditioning beyond a text prompt, and for SDXL its pooled embedding and sizes, is not known here.
_CONDITIONING = {
    'addition_embed_type': (None, 'text_time'),
    'encoder_hid_dim_type': (None,),
    'class_embed_type': (None,),
    'num_class_embeds': (None,),
}


class UNetEncoder(nn.Module):
    """Maps noisy latents to the output of a self-attention layer (DiffCut, section 3.1).

    Its parameters are on the meta device, without memory, until `load_state_dict(..., assign=True)`.

    Args:
        config: a UNet2DConditionModel's configuration.
        layer: module path of the self-attention ('...attn1'); empty: the last one of the down blocks.

    Attributes:
        layer: module path of the self-attention.
        channels: of its output.
        downsampling: side of the latents over side of the output.

    Raises:
        ValueError: for an unsupported network or a layer that it does not have.
    """

    # Parts of a network of diffusers, whose own parts nobody declares.
    conv_in: Any
    down_blocks: Any
    time_proj: Any
    time_embedding: Any
    add_time_proj: Any
    add_embedding: Any

    def __init__(self, config: Json, layer: str = '') -> None:
        super().__init__()
        _check_supported(config)
        try:
            with torch.device('meta'):
                unet = UNet2DConditionModel.from_config(config)
        except Exception as error:  # of many kinds
            found = textwrap.shorten(f'{type(error).__name__}: {error}', 300)
            raise ValueError(f'UNet: expected a configuration that makes a network, found another ({found})') from error
        self.layer = _find_layer(unet, layer)
        block, attention, transformer = (int(part) for part in self.layer.split('.')[1:-1:2])
        _trim(unet, block, attention, transformer)
        self.conv_in, self.down_blocks = unet.conv_in, unet.down_blocks
        self.time_proj, self.time_embedding = unet.time_proj, unet.time_embedding
        if unet.config.addition_embed_type == 'text_time':
            self.add_time_proj, self.add_embedding = unet.add_time_proj, unet.add_embedding
        self._center = unet.config.center_input_sample
        self._time_act = unet.time_embed_act
        self.channels = unet.get_submodule(self.layer).to_out[0].out_features
        self.downsampling = 2 ** sum(b.downsamplers is not None for b in unet.down_blocks)

    def embed(self, timestep: int, pooled: torch.Tensor | None, input_hw: tuple[int, int]) -> torch.Tensor:
        """Return what the network is told beside the image and the prompt.

        Args:
            timestep: diffusion step.
            pooled: [1, P], pooled embedding of the prompt, for SDXL types.
            input_hw: height and width of the image; SDXL types are told it as original and target size, uncropped.

        Returns:
            [1, E] in the network's precision.
        """
        weight = self.conv_in.weight
        step = torch.tensor([timestep], device=weight.device)
        embedded = self.time_embedding(self.time_proj(step).to(weight.dtype))
        if pooled is not None:
            sizes = torch.tensor([*input_hw, 0, 0, *input_hw], device=weight.device)
            added = torch.cat([pooled.float(), self.add_time_proj(sizes).flatten()[None]], 1)
            embedded = embedded + self.add_embedding(added.to(weight.dtype))
        return embedded if self._time_act is None else self._time_act(embedded)

    def forward(self, latents: torch.Tensor, embedded: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Return the layer's output.

        Args:
            latents: [B, channels, h, w], noisy.
            embedded: [1, E], see `embed`.
            prompt: [1, T, C], embedding of the prompt's tokens.

        Returns:
            [B, h / downsampling, w / downsampling, channels], in the latents' precision.
        """
        embedded = embedded.expand(len(latents), -1)
        prompt = prompt.expand(len(latents), -1, -1)
        hidden = self.conv_in(2 * latents - 1 if self._center else latents)
        *before, last = self.down_blocks
        for block in before:
            conditions = {'encoder_hidden_states': prompt} if hasattr(block, 'attentions') else {}
            hidden, _ = block(hidden, temb=embedded, **conditions)
        for resnet, attention in zip(last.resnets[:-1], last.attentions[:-1], strict=True):
            hidden = attention(resnet(hidden, embedded), encoder_hidden_states=prompt, return_dict=False)[0]
        return _to_self_attention(last.attentions[-1], last.resnets[-1](hidden, embedded), prompt)


def _to_self_attention(transformer: Transformer2DModel, hidden: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
    """Return the output [B, h, w, C] of the last self-attention of a trimmed Transformer2DModel."""
    hidden = transformer.norm(hidden)
    if transformer.use_linear_projection:
        hidden = transformer.proj_in(hidden.permute(0, 2, 3, 1))
    else:
        hidden = transformer.proj_in(hidden).permute(0, 2, 3, 1)
    batch, h, w, channels = hidden.shape
    hidden = hidden.reshape(batch, h * w, channels)
    *before, last = transformer.transformer_blocks
    for block in before:
        hidden = block(hidden, encoder_hidden_states=prompt)
    return last.attn1(last.norm1(hidden)).reshape(batch, h, w, -1)


def _check_supported(config: Json) -> None:
    unknown = sorted(set(config.get('down_block_types', ())) - set(_BLOCKS))
    if unknown:
        raise ValueError(f'UNet: expected down blocks among {", ".join(_BLOCKS)}, found {", ".join(unknown)}')
    for name, known in _CONDITIONING.items():
        if config.get(name) not in known:
            expected = ' or '.join(str(value) for value in known)
            raise ValueError(f'UNet: expected {name} {expected} (text to image), found {config[name]!r}')


def _find_layer(unet: UNet2DConditionModel, layer: str) -> str:
    """Return the path of the wanted self-attention; that of the last one of the down blocks if `layer` is empty."""
    known = [
        f'{name}.attn1'
        for name, module in unet.named_modules()
        if name.startswith('down_blocks.') and getattr(module, 'attn1', None) and not module.only_cross_attention
    ]
    if not known:
        raise ValueError(
            'UNet: expected self-attention (attn1) in the down blocks, found none: '
            f'down blocks {", ".join(unet.config.down_block_types)}, only_cross_attention '
            f'{unet.config.only_cross_attention}; DiffCut needs it, choose another checkpoint such as segmind/SSD-1B'
        )
    if layer and layer not in known:
        raise ValueError(f'layer: expected one of {", ".join(known)}, received {layer!r}')
    return layer or known[-1]


def _trim(unet: UNet2DConditionModel, block: int, attention: int, transformer: int) -> None:
    """Remove what comes after a self-attention of the down blocks."""
    del unet.down_blocks[block + 1 :]
    last = unet.down_blocks[block]
    last.downsamplers = None
    del last.resnets[attention + 1 :], last.attentions[attention + 1 :]
    projection = last.attentions[attention]
    projection.proj_out = None
    del projection.transformer_blocks[transformer + 1 :]
    final = projection.transformer_blocks[transformer]
    final.norm2 = final.attn2 = final.norm3 = final.ff = None
