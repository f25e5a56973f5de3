"""Self-attention maps of a whole Stable Diffusion UNet, as DiffSeg takes them (Tian et al., CVPR 2024).

They need the decoder as well, so a whole checkpoint; a bundle of `diffcut_export` does not serve.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.transformers.transformer_2d import Transformer2DModel

from diffcut_ros.core.memory import Result, within_memory
from diffcut_ros.core.parameters import parameter
from diffcut_ros.features.diffusion.bundle import INDEX
from diffcut_ros.features.diffusion.checkpoint import read_unet
from diffcut_ros.features.diffusion.config import DiffusionConfig
from diffcut_ros.features.diffusion.encoder import DiffusionEncoder
from diffcut_ros.features.diffusion.extractor import DiffusionExtractor
from diffcut_ros.features.diffusion.hub import locate
from diffcut_ros.features.diffusion.load import load_checkpoint


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
    folder = locate(name, config.allow_download, name)
    if (folder / INDEX).is_file():
        raise ValueError(
            f'{folder}: expected a whole checkpoint, for attention maps of its decoder, found a bundle, which holds '
            'the encoder alone; give the folder or model id that it was exported from'
        )
    tiny_vae = config.tiny_vae if config.vae == 'tiny' else None
    encoder = load_checkpoint(name, config.layer, tiny_vae, config.allow_download)
    return AttentionExtractor(encoder, read_unet(folder), config, device)


class AttentionExtractor:
    """Maps images to the self-attention maps of a whole UNet, averaged over heads and over layers of one resolution.

    Maps are added up head by head: at most one of each resolution is kept, and one more is held meanwhile.

    Args:
        encoder: image encoder, prompt and noise schedule.
        unet: of the same checkpoint.
        config: settings.
        device: where everything runs.

    Raises:
        ValueError: for settings that this encoder does not allow.
        MemoryError: when the device has too little memory.
    """

    def __init__(
        self, encoder: DiffusionEncoder, unet: UNet2DConditionModel, config: AttentionConfig, device: torch.device
    ) -> None:
        self.config, self.device = config, device
        if not config.noise:
            # With all of the signal left at every step, its latents have no noise.
            encoder = replace(encoder, alphas_cumprod=torch.ones_like(encoder.alphas_cumprod))
        self._extractor = DiffusionExtractor(encoder, config, device)
        precision = self._extractor.precision
        # Not `unet.to`, which warns of casts although this network has no part that needs float32.
        self._unet = self._within_memory(lambda: torch.nn.Module.to(unet, device, precision))
        unet.requires_grad_(False).eval()
        self._prompt = encoder.prompt.to(device, precision)
        self._conditions = {}
        if encoder.pooled is not None:
            height, width = self._extractor.input_hw
            sizes = torch.tensor([[height, width, 0, 0, height, width]], device=device, dtype=precision)
            self._conditions = {'text_embeds': encoder.pooled.to(device, precision), 'time_ids': sizes}
        self._grid_hw = (0, 0)
        # grid -> sum of maps [h * w, h * w], number of layers
        self._sums: dict[tuple[int, int], list] = {}
        for module in unet.modules():
            if isinstance(module, Transformer2DModel):
                module.register_forward_pre_hook(self._enter, with_kwargs=True)
        recorder = _Recorder(self._add)
        unet.set_attn_processor(
            {
                name: recorder if name.endswith('attn1.processor') else AttnProcessor2_0()
                for name in unet.attn_processors
            }
        )

    @torch.inference_mode()
    def __call__(self, image_rgb: np.ndarray) -> list[torch.Tensor]:
        """Return the maps of an image, uint8 [H, W, 3] RGB, one tensor per resolution, the finest first.

        Returns:
            float32 [h, w, h, w] each: [i, j] is the attention that cell (i, j) gives to each cell, of a sum of 1.

        Raises:
            MemoryError: when the device has too little memory; the image is given up.
        """
        return self._within_memory(lambda: self._maps(image_rgb))

    def _maps(self, image_rgb: np.ndarray) -> list[torch.Tensor]:
        self._sums = {}
        latents = self._extractor.latents(self._extractor.upload([image_rgb]))
        step = torch.tensor([self.config.timestep], device=self.device)
        conditions = {'added_cond_kwargs': self._conditions} if self._conditions else {}
        self._unet(latents, step, encoder_hidden_states=self._prompt, **conditions)
        sums, self._sums = self._sums, {}
        finest_first = sorted(sums, reverse=True)
        return [(sums[hw][0] / sums[hw][1]).reshape(*hw, *hw) for hw in finest_first]

    def _within_memory(self, function: Callable[[], Result]) -> Result:
        height, width = self._extractor.input_hw
        advice = f'attention maps at input {width}x{height} need more; take a smaller input_size or largest_grid'
        return within_memory(function, self.device, advice)

    def _enter(self, module: torch.nn.Module, inputs: tuple, keywords: dict) -> None:
        """Keep the grid of the layers that follow, which see its cells in one row."""
        hidden = inputs[0] if inputs else keywords['hidden_states']
        self._grid_hw = tuple(hidden.shape[-2:])

    def _add(self, layer: Attention, hidden: torch.Tensor) -> None:
        """Add a layer's maps to those of its resolution.

        Args:
            layer: self-attention.
            hidden: [1, h * w, C], its input.
        """
        cells = hidden.shape[1]
        if cells > self.config.largest_grid**2:
            return
        if self._grid_hw not in self._sums:
            self._sums[self._grid_hw] = [torch.zeros(cells, cells, device=self.device), 0]
        entry = self._sums[self._grid_hw]
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
