"""Features against the full pipeline of the same checkpoint (random weights)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

from diffcut_ros.core import Segmenter
from diffcut_ros.features import create_extractor
from support.cuda_graphs import Failing, Pretended
from support.scenes import photograph

PIPELINES = {'sdxl': StableDiffusionXLPipeline, 'sd1': StableDiffusionPipeline}
ATTENTION = {'sdxl': (-1, 64), 'sd1': (-2, 32)}  # down block of the hook by the paper, channels


@torch.no_grad()
def features_of_full_pipeline(folder, kind: str, image_rgb: np.ndarray, input_hw, timestep: int = 50) -> torch.Tensor:
    """Return the features [h, w, C] of the paper's procedure: the whole pipeline, and a hook on one module."""
    pipeline = PIPELINES[kind].from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pixels = torch.from_numpy(image_rgb).permute(2, 0, 1)[None].float() / 255
    pixels = 2 * F.interpolate(pixels, input_hw, mode='bilinear', antialias=True) - 1
    latents = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(42))
    noisy = pipeline.scheduler.add_noise(latents, noise, torch.tensor([timestep]))
    prompt, _, *pooled = pipeline.encode_prompt(
        '', device='cpu', num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    conditions = {}
    if pooled:
        sizes = pipeline._get_add_time_ids(input_hw, (0, 0), input_hw, prompt.dtype, pooled[0].shape[1])
        conditions['added_cond_kwargs'] = {'text_embeds': pooled[0], 'time_ids': sizes}
    found = []
    block = pipeline.unet.down_blocks[ATTENTION[kind][0]]
    hooked = block.attentions[-1].transformer_blocks[-1].attn1
    hooked.register_forward_hook(lambda module, inputs, output: found.append(output))
    pipeline.unet(noisy, torch.tensor([timestep]), encoder_hidden_states=prompt, **conditions)
    return found[0].reshape(input_hw[0] // 32, input_hw[1] // 32, -1)


@pytest.mark.parametrize('kind', PIPELINES)
@pytest.mark.parametrize(
    ('options', 'input_hw'),
    [
        ({'input_size': 128}, (128, 128)),
        ({'input_size': 192, 'aspect': '16:9'}, (128, 256)),
        ({'input_size': 128, 'aspect': '3:4', 'timestep': 500}, (160, 96)),
    ],
)
def test_features_are_those_of_the_full_pipeline(checkpoints, kind, options, input_hw):
    image = photograph(120, 200)
    extractor = create_extractor(str(checkpoints[kind]), device='cpu', **options)
    assert extractor.input_hw == input_hw
    found = extractor(image).features
    assert found.shape == (*extractor.grid_hw(), extractor.channels)
    assert extractor.channels == ATTENTION[kind][1]
    expected = features_of_full_pipeline(checkpoints[kind], kind, image, input_hw, options.get('timestep', 50))
    assert (found - expected).abs().max() < 1e-5
    assert expected.std() > 0.05


@pytest.mark.parametrize('kind', PIPELINES)
@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
def test_half_precision(checkpoints, kind, precision):
    image = photograph(120, 200)
    found = create_extractor(str(checkpoints[kind]), device='cpu', precision=precision, input_size=128)(image).features
    expected = features_of_full_pipeline(checkpoints[kind], kind, image, (128, 128))
    assert found.dtype == torch.float32
    assert (found - expected).norm() / expected.norm() < 2e-2


@pytest.mark.parametrize('kind', PIPELINES)
def test_only_the_encoder_is_in_memory(checkpoints, kind):
    extractor = create_extractor(str(checkpoints[kind]), device='cpu', input_size=128)
    networks = [value for value in vars(extractor).values() if isinstance(value, torch.nn.Module)]
    names = {name for network in networks for name, _ in network.named_modules()}
    assert 'encoder.conv_in' in names  # of the VAE
    assert extractor._unet.layer in names
    behind = ('up_blocks', 'mid_block.attentions', 'conv_out', 'decoder', 'text_model', 'post_quant_conv')
    # The VAE's encoder has a middle block and a last convolution of its own.
    found = {name for name in names if any(part in name for part in behind) and not name.startswith('encoder.')}
    assert not found
    block, attention, transformer = extractor._unet.layer.split('.')[1:-1:2]
    after = extractor._unet.down_blocks[-1].attentions[-1].transformer_blocks[-1]
    assert (int(block), int(attention), int(transformer)) == (
        len(extractor._unet.down_blocks) - 1,
        len(extractor._unet.down_blocks[-1].attentions) - 1,
        len(extractor._unet.down_blocks[-1].attentions[-1].transformer_blocks) - 1,
    )
    assert {name for name, _ in after.named_children()} == {'norm1', 'attn1'}
    assert all(
        parameter.device.type == 'cpu' and not parameter.requires_grad for n in networks for parameter in n.parameters()
    )


def test_another_layer(checkpoints):
    layer = 'down_blocks.1.attentions.0.transformer_blocks.1.attn1'
    extractor = create_extractor(str(checkpoints['sdxl']), device='cpu', input_size=128, layer=layer)
    assert (extractor.stride, extractor.channels, extractor.grid_hw()) == (16, 32, (8, 8))
    assert extractor(photograph(50, 60)).features.shape == (8, 8, 32)
    with pytest.raises(ValueError, match=r'layer: expected one of down_blocks\.1\..*, received'):
        create_extractor(str(checkpoints['sdxl']), device='cpu', input_size=128, layer='mid_block.attn1')


def test_several_images_of_several_sizes_in_one_batch(checkpoints):
    extractor = create_extractor(str(checkpoints['sdxl']), device='cpu', input_size=128)
    images = [photograph(120, 200, seed=1), photograph(64, 48, seed=2), photograph(300, 300, seed=3)]
    for image, together in zip(images, extractor.batch(images), strict=True):
        alone = extractor(image)
        assert together.image_size_hw == image.shape[:2]
        assert (together.features - alone.features).abs().max() < 1e-4


def test_the_tiny_vae(checkpoints):
    options = {'device': 'cpu', 'input_size': 128, 'tiny_vae': str(checkpoints['tiny'])}
    full, tiny = (create_extractor(str(checkpoints['sdxl']), vae=vae, **options) for vae in ('full', 'tiny'))
    image = photograph(120, 200)
    assert tiny(image).features.shape == full(image).features.shape
    assert sum(p.numel() for p in tiny._vae.parameters()) < sum(p.numel() for p in full._vae.parameters())
    assert (tiny(image).features - full(image).features).abs().max() > 1e-3


def test_same_image_same_features(checkpoints):
    image = photograph(120, 200)
    extractors = [create_extractor(str(checkpoints['sd1']), device='cpu', input_size=128) for _ in range(2)]
    assert torch.equal(extractors[0](image).features, extractors[0](image).features)
    assert (extractors[0](image).features - extractors[1](image).features).abs().max() < 1e-5


def test_an_array_that_must_not_be_written_to(checkpoints):
    image = photograph(120, 200)
    extractor = create_extractor(str(checkpoints['sd1']), device='cpu', input_size=128)
    expected = extractor(image.copy()).features
    image.setflags(write=False)
    assert torch.equal(extractor(image).features, expected)


def test_the_whole_pipeline(checkpoints):
    """Random weights: the segments mean nothing, their form does."""
    extractor = create_extractor(str(checkpoints['sdxl']), device='cpu', input_size=256, aspect='4:3')
    result = Segmenter(extractor).segment(photograph(120, 160))
    assert result.labels.shape == (120, 160)
    assert result.segments[0].feature.shape == (extractor.channels,)


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        ({'input_size': 100}, 'input_size: expected a multiple of 32, .* received 100; next to it are 96 and 128'),
        ({'input_size': 16}, 'input_size: expected a multiple of 32, .* received 16; next to it are 32 and 64'),
        ({'aspect': 'wide'}, "aspect: expected WIDTHxHEIGHT .*, received 'wide'"),
        ({'aspect': '1:0'}, "aspect: expected WIDTHxHEIGHT .*, received '1:0'"),
        ({'precision': 'int8'}, 'precision: expected one of auto, float32, bfloat16, float16, received'),
        ({'timestep': 1000}, 'timestep: expected 0 to 999'),
        ({'size': 3}, 'expected options among input_size, .*, received size'),
    ],
)
def test_bad_settings(checkpoints, options, problem):
    with pytest.raises(ValueError, match=problem):
        create_extractor(str(checkpoints['sd1']), device='cpu', **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
def test_on_a_gpu_graphs_give_what_the_cpu_gives(checkpoints):
    images = [photograph(120, 200, seed) for seed in range(3)]
    on_cpu = create_extractor(str(checkpoints['sdxl']), device='cpu', input_size=128)
    on_gpu = create_extractor(str(checkpoints['sdxl']), device='cuda', input_size=128, precision='float32')
    on_gpu.prepare(3)
    assert 'without CUDA graphs' not in on_gpu.description
    first = on_gpu(images[0]).features
    kept = first.clone()
    for i, together in enumerate(on_gpu.batch(images)):
        expected = on_cpu(images[i]).features
        assert (together.features.cpu() - expected).norm() / expected.norm() < 1e-2
    assert torch.equal(first, kept)  # a later image must not overwrite an earlier one's features


def test_both_networks_are_captured_for_each_number_of_images(checkpoints):
    images = [photograph(120, 200, seed) for seed in range(2)]
    extractor = create_extractor(str(checkpoints['sd1']), device='cpu', input_size=64)
    expected = extractor.batch(images)[1].features
    graphs = extractor._graphs = Pretended()
    for batch in (1, 2, 2):
        extractor.prepare(batch)
    assert [one.shape for one in graphs.found] == [(1, 3, 64, 64), (1, 4, 8, 8), (2, 3, 64, 64), (2, 4, 8, 8)]
    assert torch.equal(extractor.batch(images)[1].features, expected)
    assert [one.runs for one in graphs.found] == [0, 0, 1, 1]
    assert 'without' not in extractor.description


def test_without_graphs_features_are_the_same_and_the_reason_is_told_once(checkpoints):
    images = [photograph(120, 200)] * 2
    extractor = create_extractor(str(checkpoints['sd1']), device='cpu', input_size=64)
    expected = extractor.batch(images)[1].features
    extractor._graphs = Failing()
    for _ in range(2):
        extractor.prepare(2)
    assert extractor.description.endswith(' cells, without CUDA graphs for 2 of 64x64 px (the reason)')
    assert torch.equal(extractor.batch(images)[1].features, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
def test_memory_does_not_grow_with_frames(checkpoints):
    extractor = create_extractor(str(checkpoints['sdxl']), device='cuda', input_size=128)
    for frame in range(3):
        extractor(photograph(120, 200, frame))
    before = torch.cuda.memory_reserved()
    for frame in range(50):
        extractor(photograph(120, 200, frame))
    assert torch.cuda.memory_reserved() == before


def test_fingerprint_tells_weights_and_settings_apart(checkpoints, tmp_path):
    options = {'device': 'cpu', 'input_size': 64}
    plain = create_extractor(str(checkpoints['sdxl']), **options).fingerprint()
    assert create_extractor(str(checkpoints['sdxl']), **options).fingerprint() == plain
    others = [
        create_extractor(str(checkpoints['sdxl']), **options | {'timestep': 51}),
        create_extractor(str(checkpoints['sdxl']), **options | {'input_size': 96}),
        create_extractor(str(checkpoints['sdxl']), **options | {'precision': 'bfloat16'}),
        create_extractor(str(checkpoints['sd1']), **options),
    ]
    changed = create_extractor(str(checkpoints['sdxl']), **options)
    with torch.no_grad():
        next(changed._unet.parameters()).mul_(1.001)  # a checkpoint of the same form, trained a little further
    digests = {plain, changed.fingerprint(), *(other.fingerprint() for other in others)}
    assert len(digests) == len(others) + 2
