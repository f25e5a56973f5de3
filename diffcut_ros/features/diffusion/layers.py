"""Features of several layers of a whole UNet, those of its decoder among them (DiffCut, table 3).

They need a whole checkpoint; a bundle of `diffcut_export` does not serve. Features of one layer of the encoder need
neither: that is `DiffusionConfig.layer`.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from diffcut_ros.core import FeatureMap
from diffcut_ros.core.parameters import parameter
from diffcut_ros.features.diffusion.config import DiffusionConfig
from diffcut_ros.features.diffusion.whole_unet import WholeUnet


@dataclass(frozen=True)
class LayersConfig(DiffusionConfig):
    """Settings of the features of several layers: those of the backend, and which layers."""

    layers: tuple = parameter(  # type: ignore[type-arg]  # this very type is what parameters are told by
        (),
        'Self-attentions whose outputs are joined, such as up_blocks.0.attentions.2.transformer_blocks.0.attn1; the '
        'first one has the grid that the others are brought to',
    )


class LayersExtractor:
    """Maps images to the outputs of several self-attention layers, side by side.

    Each layer's features are brought to the grid of the first one (bilinear, antialiased) and L2-normalised, so that
    each has the same say in a cosine similarity. The paper does not tell how it joins them.

    Args:
        name: a checkpoint's folder, a known name or a model id; see `create_extractor`.
        config: settings.
        device: where everything runs.

    Attributes:
        channels: of the features.
        device: where they are.
        description: of model, layers and sizes, as text.

    Raises:
        ValueError: for layers that are not there, listing those that are; and see `WholeUnet`.
        MemoryError: when the device has too little memory.
    """

    def __init__(self, name: str, config: LayersConfig, device: torch.device) -> None:
        self._unet, self._layers, self.device = WholeUnet(name, config, device), config.layers, device
        modules = dict(self._unet.network.named_modules())
        known = [path for path in modules if path.endswith('.attn1')]
        missing = [path for path in config.layers if path not in known]
        if missing or not config.layers:
            raise ValueError(
                f'layers: received {", ".join(missing) or "none"}; expected some that {name} has: {", ".join(known)}'
            )
        # layer -> output, [1, C, h, w]
        self._outputs: dict[str, torch.Tensor] = {}
        for path in config.layers:
            modules[path].register_forward_hook(lambda _, inputs, output, path=path: self._keep(path, output))
        self.channels = sum(modules[path].to_out[0].out_features for path in config.layers)
        height, width = self._unet.input_hw
        self.description = f'{name}, {len(config.layers)} layers of the whole UNet, input {width}x{height}'

    @torch.inference_mode()
    def __call__(self, image_rgb: np.ndarray) -> FeatureMap:
        """Return the features of an image, uint8 [H, W, 3] RGB.

        Raises:
            MemoryError: when the device has too little memory; the image is given up.
        """
        self._unet.within_memory(lambda: self._unet.run(image_rgb))
        maps = [self._outputs.pop(path) for path in self._layers]
        grid_hw = maps[0].shape[-2:]
        joined = [F.normalize(F.interpolate(m, grid_hw, mode='bilinear', antialias=True), dim=1) for m in maps]
        return FeatureMap(torch.cat(joined, 1)[0].permute(1, 2, 0).contiguous(), image_rgb.shape[:2])

    def _keep(self, path: str, output: torch.Tensor) -> None:
        self._outputs[path] = output.float().transpose(1, 2).unflatten(2, self._unet.grid_hw)
