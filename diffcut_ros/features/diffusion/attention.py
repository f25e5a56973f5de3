"""Self-attention maps of a whole Stable Diffusion UNet, as DiffSeg takes them (Tian et al., CVPR 2024).

They need the decoder as well, so a whole checkpoint; a bundle of `diffcut_export` does not serve.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from diffcut_ros.core.parameters import parameter
from diffcut_ros.features.diffusion.config import DiffusionConfig
from diffcut_ros.features.diffusion.whole_unet import WholeUnet


@dataclass(frozen=True)
class AttentionConfig(DiffusionConfig):
    """Settings of the attention maps: those of the backend, at DiffSeg's defaults, and two more."""

    input_size: int = parameter(
        512,
        'Side of the square that the network sees, or of the square with as many pixels',
        unit='px',
        minimum=16,
        maximum=4096,
    )
    timestep: int = parameter(
        300, 'Diffusion step that the network is told', unit='of the schedule', minimum=0, maximum=999
    )
    noise: bool = parameter(False, "Add the step's noise to the image; DiffSeg does not")
    largest_grid: int = parameter(
        64,
        'Maps of finer grids than this square are left out: memory grows with the fourth power',
        unit='cells per side',
        minimum=1,
        maximum=256,
    )


def load_attention_extractor(name: str, config: AttentionConfig, device: torch.device) -> 'AttentionExtractor':
    """Return the extractor of a checkpoint's folder, a known name or a model id; see `create_extractor`.

    Raises:
        ValueError: saying what was found, what was expected and what to do.
        MemoryError: when the device has too little memory.
    """
    return AttentionExtractor(WholeUnet(name, config, device, config.noise), config.largest_grid)


class AttentionExtractor:
    """Maps images to the self-attention maps of a whole UNet, averaged over heads and over layers of one resolution.

    Maps are added up head by head: at most one of each resolution is kept, and one more is held meanwhile.

    Args:
        unet: whose processors of attention are replaced; they compute as before.
        largest_grid: see `AttentionConfig`.
    """

    def __init__(self, unet: WholeUnet, largest_grid: int) -> None:
        self._unet, self._largest_grid = unet, largest_grid
        # grid -> sum of maps [h * w, h * w], number of layers
        self._sums: dict[tuple[int, int], list[Any]] = {}
        recorder, other = _Recorder(self._add), AttnProcessor2_0()
        names = unet.network.attn_processors
        unet.network.set_attn_processor({name: recorder if '.attn1.' in name else other for name in names})

    @torch.inference_mode()
    def __call__(self, image_rgb: np.ndarray) -> list[torch.Tensor]:
        """Return the maps of an image, uint8 [H, W, 3] RGB, one tensor per resolution, the finest first.

        Returns:
            float32 [h, w, h, w] each: [i, j] is the attention that cell (i, j) gives to each cell, of a sum of 1.

        Raises:
            MemoryError: when the device has too little memory; the image is given up.
        """
        self._sums = {}
        self._unet.within_memory(lambda: self._unet.run(image_rgb))
        sums, self._sums = self._sums, {}
        return [(sums[hw][0] / sums[hw][1]).reshape(*hw, *hw) for hw in sorted(sums, reverse=True)]

    def _add(self, layer: Attention, hidden: torch.Tensor) -> None:
        """Add a layer's maps to those of its resolution.

        Args:
            layer: self-attention.
            hidden: [1, h * w, C], its input.
        """
        cells = hidden.shape[1]
        if cells > self._largest_grid**2:
            return
        entry = self._sums.setdefault(self._unet.grid_hw, [torch.zeros(cells, cells, device=hidden.device), 0])
        queries, keys = (layer.head_to_batch_dim(project(hidden)) for project in (layer.to_q, layer.to_k))
        for query, key in zip(queries.split(1), keys.split(1), strict=True):
            entry[0] += layer.get_attention_scores(query, key)[0].float() / len(queries)
        entry[1] += 1


class _Recorder:
    """An attention processor of `diffusers` that shows each self-attention's input, and computes as ever."""

    def __init__(self, record: Callable[[Attention, torch.Tensor], None]) -> None:
        self._record, self._process = record, AttnProcessor2_0()

    def __call__(
        self,
        layer: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the layer's output."""
        if encoder_hidden_states is None:  # else a layer of that name attends to the prompt
            self._record(layer, hidden_states)
        return self._process(layer, hidden_states, encoder_hidden_states, attention_mask, temb)
