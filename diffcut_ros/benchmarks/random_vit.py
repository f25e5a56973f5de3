"""Known vision transformers with random weights: right in size and shape, so right in time and memory."""

import torch

from diffcut_ros.features.vit.encoder import Scaling, VitEncoder
from diffcut_ros.features.vit.network import VitNetwork, class_of, trimmed

_SMALL = {'hidden_size': 384, 'num_hidden_layers': 12, 'num_attention_heads': 6, 'num_channels': 3}
_BASE = {**_SMALL, 'hidden_size': 768, 'num_attention_heads': 12}
_DINOV2 = {'model_type': 'dinov2', 'image_size': 518, 'patch_size': 14, 'mlp_ratio': 4}
_REGISTERS = {**_DINOV2, 'model_type': 'dinov2_with_registers', 'num_register_tokens': 4}
_DINOV3 = {'model_type': 'dinov3_vit', 'patch_size': 16, 'intermediate_size': 1536, 'num_register_tokens': 4}
# name -> configuration
_VITS = {
    'dinov2-small': {**_DINOV2, **_SMALL},
    'dinov2-base': {**_DINOV2, **_BASE},
    'dinov2-with-registers-small': {**_REGISTERS, **_SMALL},
    'dinov2-with-registers-base': {**_REGISTERS, **_BASE},
    'dinov3-vits16': {**_DINOV3, **_SMALL},
}


def random_vit(name: str, layer: str) -> VitEncoder:
    """Return the encoder of a known vision transformer, its weights drawn at random.

    Raises:
        ValueError: for one whose network is not known here, or a layer that it does not have.
    """
    if name not in _VITS:
        raise ValueError(f'--random-weights: expected one of {", ".join(_VITS)}, received {name!r}')
    kind = class_of(_VITS[name], name)
    config = trimmed(kind.config_class.from_dict(_VITS[name]), layer)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = VitNetwork(kind(config).requires_grad_(False).eval(), layer)
    scaling = Scaling(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return VitEncoder({'model': f'{name} with random weights'}, network, scaling, statistics=None)
