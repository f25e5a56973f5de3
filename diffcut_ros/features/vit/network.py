"""A vision transformer of `transformers` up to one layer, and what its layers are called.

All that is computed is computed by the classes of `transformers`.
"""

import re
from inspect import signature
from typing import Any

import torch
import transformers
from torch import nn

from diffcut_ros.features.files import Json

# Type in a configuration -> class; their tokens are those of the patches, row by row, after those of no place.
_CLASSES = {
    'vit': 'ViTModel',
    'deit': 'DeiTModel',
    'vit_msn': 'ViTMSNModel',
    'ijepa': 'IJepaModel',
    'dinov2': 'Dinov2Model',
    'dinov2_with_registers': 'Dinov2WithRegistersModel',
    'dinov3_vit': 'DINOv3ViTModel',
    'clip_vision_model': 'CLIPVisionModel',
    'siglip_vision_model': 'SiglipVisionModel',
    'radio': 'RadioModel',
}
# Of a model for images and texts, the part for images.
_PARTS = {'clip': 'clip_vision_model', 'siglip': 'siglip_vision_model'}
_LAYER = re.compile(r'(\d{1,4})(?:\.(tokens|keys|values))?')
# Names of a block's linear maps, by the versions of transformers.
_MAPS = {'keys': ('k_proj', 'key'), 'values': ('v_proj', 'value')}
# Of a configuration, what tells of all blocks, and what tells nothing of the features.
_UNUSED = ('out_features', 'out_indices', 'stage_names', 'id2label', 'label2id')


def class_of(config: Json, where: str) -> type[Any]:
    """Return the class of `transformers` for the network of a configuration, or for its part for images.

    Args:
        config: content of config.json.
        where: its path; for the error.

    Raises:
        ValueError: for another kind of network, or one that the installed version does not know.
    """
    found = config.get('model_type')
    kind = _CLASSES.get(_PARTS.get(str(found), str(found)))
    if kind is None:
        what = found or config.get('_class_name') or config.get('architectures') or 'no model_type'
        raise ValueError(
            f'{where}: expected a vision transformer of the types {", ".join((*_CLASSES, *_PARTS))}, found {what}; '
            'choose another, such as dinov2-small'
        )
    if not hasattr(transformers, kind):
        raise ValueError(
            f'{where}: expected a network that transformers {transformers.__version__} knows, found {found}. Next: '
            'pip install --upgrade transformers'
        )
    return getattr(transformers, kind)


def trimmed(config: Any, layer: str) -> Any:
    """Return a configuration of `transformers` of the network up to a layer.

    Raises:
        ValueError: for a layer that it does not have, or what the features are not taken from here.
    """
    blocks = config.num_hidden_layers
    block, _ = _parse(layer, blocks)
    content = {name: value for name, value in config.to_dict().items() if name not in _UNUSED}
    content['num_hidden_layers'] = block
    if 'vision_use_head' in content or config.model_type == 'siglip_vision_model':
        content['vision_use_head'] = False
    if not isinstance(content['patch_size'], int) or content['num_channels'] != 3:
        raise ValueError(
            f'expected a network of square patches and 3 channels, found patch_size {content["patch_size"]}, '
            f'num_channels {content["num_channels"]}'
        )
    return type(config).from_dict(content)


def pooling(kind: type[Any]) -> dict[str, bool]:
    """Return the options of a class that leave out what makes one vector of an image."""
    return {'add_pooling_layer': False} if 'add_pooling_layer' in signature(kind).parameters else {}


class VitNetwork(nn.Module):
    """Maps images to the features of a layer.

    Args:
        network: of `transformers`, of a configuration that `trimmed` gave.
        layer: see `VitConfig.layer`.

    Attributes:
        network: the same.
        layer: the same.
        patch: px per side.
        channels: of the features.
    """

    network: Any

    def __init__(self, network: Any, layer: str) -> None:
        super().__init__()
        self.network, self.layer = network, layer
        config = network.config
        self.patch, self.channels = int(config.patch_size), int(config.hidden_size)
        # Networks with positions for one size of image bring them to others only if told to.
        interpolates = 'interpolate_pos_encoding' in signature(network.forward).parameters
        self._options = {'interpolate_pos_encoding': True} if interpolates else {}
        block, part = _parse(layer, config.num_hidden_layers)
        self._found: list[Any] = []
        if part != 'last':
            hooked = _blocks(network, block)[block - 1]
            if part in _MAPS:
                hooked = next(m for name, m in hooked.named_modules() if name.rpartition('.')[2] in _MAPS[part])
                self.channels = int(hooked.out_features)
            hooked.register_forward_hook(lambda module, inputs, output: self._found.append(output))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features [B, h, w, channels] of images [B, 3, h * patch, w * patch], scaled as `Scaling` says."""
        output = self.network(pixel_values=images, **self._options)
        found = self._found.pop() if self._found else output.last_hidden_state
        tokens = found[0] if isinstance(found, tuple) else found
        height, width = (side // self.patch for side in images.shape[2:])
        return tokens[:, tokens.shape[1] - height * width :].unflatten(1, (height, width))

    def description(self) -> Json:
        """Return the configuration, without what tells where it was read from and by which version."""
        content = self.network.config.to_dict()
        return {name: content[name] for name in content if not name.startswith(('_', 'transformers'))}


def _blocks(network: nn.Module, count: int) -> Any:
    """Return the list of a network's blocks, which each class and version keeps in another place."""
    return next(m for m in network.modules() if isinstance(m, nn.ModuleList) and len(m) == count)


def _parse(layer: str, blocks: int) -> tuple[int, str]:
    """Return the block, counted from 1, and the part of it that a layer names: tokens, keys, values or last."""
    if layer == 'last':
        return blocks, layer
    match = _LAYER.fullmatch(layer)
    if match is None or not 1 <= int(match[1]) <= blocks:
        raise ValueError(
            f'layer: expected last, or N.tokens, N.keys or N.values with N from 1 to {blocks}, the blocks of this '
            f'network, received {layer!r}'
        )
    return int(match[1]), match[2] or 'tokens'
