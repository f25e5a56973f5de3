"""Small vision transformers with random weights: real classes of `transformers`, saved as on the Hub.

Their features mean nothing; they show that loading, trimming and computing are right.
"""

import json
from pathlib import Path

import torch
import transformers

_SIDES = {'hidden_size': 24, 'num_hidden_layers': 3, 'num_attention_heads': 3}
_MLP = {'intermediate_size': 48}
_TEXT = {'hidden_size': 24, 'num_hidden_layers': 1, 'num_attention_heads': 3, 'vocab_size': 90, **_MLP}
_PATCH_14 = {'image_size': 70, 'patch_size': 14}
_PATCH_16 = {'image_size': 64, 'patch_size': 16}
_VISION = {**_SIDES, **_MLP, **_PATCH_16}
# Name -> class as it is saved, its configuration, class of which the features are.
KINDS = {
    'vit': ('ViTModel', _VISION, 'ViTModel'),  # DINO's
    'classifier': ('ViTForImageClassification', _VISION, 'ViTModel'),
    'deit': ('DeiTModel', _VISION, 'DeiTModel'),
    'msn': ('ViTMSNModel', _VISION, 'ViTMSNModel'),
    'ijepa': ('IJepaModel', {**_SIDES, **_MLP, **_PATCH_14}, 'IJepaModel'),
    'dinov2': ('Dinov2Model', {**_SIDES, **_PATCH_14, 'mlp_ratio': 2}, 'Dinov2Model'),
    'registers': (
        'Dinov2WithRegistersModel',
        {**_SIDES, **_PATCH_14, 'mlp_ratio': 2, 'num_register_tokens': 4},
        'Dinov2WithRegistersModel',
    ),
    'dinov3': ('DINOv3ViTModel', {**_VISION, 'num_register_tokens': 4}, 'DINOv3ViTModel'),
    'siglip_vision': ('SiglipVisionModel', _VISION, 'SiglipVisionModel'),
    'siglip': (
        'SiglipModel',
        {'text_config': {**_TEXT, 'projection_size': 24}, 'vision_config': _VISION},
        'SiglipVisionModel',
    ),
    'clip_vision': ('CLIPVisionModel', {**_SIDES, **_MLP, **_PATCH_14}, 'CLIPVisionModel'),
    'clip': ('CLIPModel', {'text_config': _TEXT, 'vision_config': _VISION}, 'CLIPVisionModel'),
    'radio': ('RadioModel', {**_SIDES, **_PATCH_16, 'mlp_ratio': 2.0, 'max_img_size': 128}, 'RadioModel'),
}
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def save_vit(kind: str, folder: Path) -> Path:
    """Save a network of `KINDS`, with how its images are scaled."""
    name, settings, _ = KINDS[kind]
    made = getattr(transformers, name)
    torch.manual_seed(1)
    network = made(made.config_class(**settings))
    with torch.no_grad():
        for parameter in network.parameters():  # as they are made, blocks hardly change anything
            parameter += 0.2 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    (folder / 'preprocessor_config.json').write_text(json.dumps({'image_mean': MEAN, 'image_std': STD}))
    return folder
