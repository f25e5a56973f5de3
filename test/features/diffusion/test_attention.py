"""Attention maps against those that the whole pipeline of the same checkpoint computes (random weights)."""

import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor

from diffcut_ros.evaluation.methods import METHODS, Sample
from diffcut_ros.features import export
from diffcut_ros.features.diffusion.attention import AttentionConfig, load_attention_extractor
from support.scenes import photograph

from .test_extractor import PIPELINES

# Grids of self-attention at 256 x 256 pixels, and the layers of each: SSD-1B has none at the finest and no middle.
LAYERS = {
    'sdxl': {(16, 16): 2 * 2 + 2 + 1 + 1, (8, 8): 2 * 3 + 3 + 3 + 4},
    'sd1': {(32, 32): 5, (16, 16): 5, (8, 8): 5, (4, 4): 1},
}


def extractor_of(folder, **options):
    return load_attention_extractor(str(folder), AttentionConfig(**options), torch.device('cpu'))


@torch.no_grad()
def maps_of_full_pipeline(folder, kind: str, image_rgb: np.ndarray, timestep: int, noise: bool) -> dict:
    """Return grid side -> maps [layers, N, N] of all self-attention layers, averaged over heads.

    As `diffusers` computes them where it computes them at all: in its plain processor.
    """
    pipeline = PIPELINES[kind].from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False)
    unet = pipeline.unet
    unet.set_attn_processor(AttnProcessor())
    pixels = torch.from_numpy(image_rgb).permute(2, 0, 1)[None].float() / 255
    pixels = 2 * F.interpolate(pixels, (256, 256), mode='bilinear', antialias=True) - 1
    latents = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
    if noise:
        scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        drawn = torch.randn(latents.shape, generator=torch.Generator().manual_seed(42))
        latents = scheduler.add_noise(latents, drawn, torch.tensor([timestep]))
    prompt, _, *pooled = pipeline.encode_prompt(
        '', device='cpu', num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    conditions = {}
    if pooled:
        sizes = pipeline._get_add_time_ids((256, 256), (0, 0), (256, 256), prompt.dtype, pooled[0].shape[1])
        conditions['added_cond_kwargs'] = {'text_embeds': pooled[0], 'time_ids': sizes}
    found = {}
    for name, module in unet.named_modules():
        if name.endswith('attn1'):
            plain = module.get_attention_scores

            def keep(*inputs, plain=plain):
                scores = plain(*inputs)
                found.setdefault(round(scores.shape[1] ** 0.5), []).append(scores.mean(0))
                return scores

            module.get_attention_scores = keep
    unet(latents, torch.tensor([timestep]), encoder_hidden_states=prompt, **conditions)
    return {side: torch.stack(maps) for side, maps in found.items()}


@pytest.mark.parametrize('kind', PIPELINES)
@pytest.mark.parametrize('options', [{}, {'timestep': 50, 'noise': True}])
def test_maps_are_those_of_the_full_pipeline(checkpoints, kind, options):
    image = photograph(120, 200)
    found = extractor_of(checkpoints[kind], input_size=256, **options)(image)
    expected = maps_of_full_pipeline(
        checkpoints[kind], kind, image, options.get('timestep', 300), options.get('noise', False)
    )
    assert [maps.shape for maps in found] == [(*hw, *hw) for hw in LAYERS[kind]]
    assert {(side, side): len(maps) for side, maps in expected.items()} == LAYERS[kind]
    for maps in found:
        side = len(maps)
        mean = expected[side].mean(0)
        assert (mean * side**2 - 1).abs().max() > 0.05  # else any map would do
        assert maps.reshape(side**2, side**2).numpy() == pytest.approx(mean.numpy(), rel=2e-3)


def test_images_do_not_add_up(checkpoints):
    extractor = extractor_of(checkpoints['sd1'], input_size=128)
    first = extractor(photograph(64, 64, seed=1))
    extractor(photograph(64, 64, seed=2))
    for maps, again in zip(first, extractor(photograph(64, 64, seed=1)), strict=True):
        assert torch.equal(maps, again)
        assert maps.sum((2, 3)).numpy() == pytest.approx(1, abs=1e-5)


def test_finer_grids_than_asked_for_are_left_out(checkpoints):
    whole = extractor_of(checkpoints['sd1'], input_size=256)(photograph(64, 64))
    coarse = extractor_of(checkpoints['sd1'], input_size=256, largest_grid=8)(photograph(64, 64))
    assert [len(maps) for maps in coarse] == [8, 4]
    for maps, expected in zip(coarse, whole[2:], strict=True):
        assert torch.equal(maps, expected)


@pytest.mark.parametrize('kind', PIPELINES)
def test_an_input_that_is_no_square(checkpoints, kind):
    """At 160 x 96 pixels some grids have odd sides."""
    found = extractor_of(checkpoints[kind], input_size=128, aspect='3:4')(photograph(64, 64))
    grids = {'sdxl': [(10, 6), (5, 3)], 'sd1': [(20, 12), (10, 6), (5, 3), (3, 2)]}
    assert [tuple(maps.shape) for maps in found] == [(*hw, *hw) for hw in grids[kind]]


@pytest.mark.parametrize('kind', PIPELINES)
def test_diffseg_takes_them(checkpoints, kind):
    image = photograph(60, 90)
    attention = extractor_of(checkpoints[kind], input_size=256)(image)
    method = METHODS['diffseg']
    labels = method.run(Sample(image, attention=attention), method.config(threshold=1e-3))
    assert labels.shape == (60, 90)


def test_a_bundle_has_no_decoder(checkpoints, tmp_path):
    out = tmp_path / 'bundle'
    assert export.main([str(checkpoints['sd1']), str(out), '--tiny-vae', str(checkpoints['tiny'])]) == 0
    with pytest.raises(ValueError, match='expected a whole checkpoint, found a bundle'):
        extractor_of(out)


def test_a_checkpoint_without_part_of_its_decoder(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints['sd1'], tmp_path / 'copy')
    config = folder / 'unet' / 'config.json'
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, 'layers_per_block': 3}))
    with pytest.raises(ValueError, match='unet'):
        extractor_of(folder)
    from safetensors.torch import load_file, save_file

    config.write_text(json.dumps(settings))
    (path,) = (folder / 'unet').glob('*.safetensors')
    save_file({name: value for name, value in load_file(path).items() if not name.startswith('conv_out')}, path)
    with pytest.raises(ValueError, match=r'conv_out\.bias is missing, 2 tensors in all; download the weights again'):
        extractor_of(folder)
