"""Features against the original classes of `transformers`, on small networks with random weights."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

from diffcut_ros.core import Segmenter
from diffcut_ros.features import create_extractor
from diffcut_ros.features.models import MODELS, NAMES
from diffcut_ros.features.vit import attention
from diffcut_ros.features.vit import extractor as extractor_module
from support.cuda_graphs import Failing, Pretended
from support.scenes import photograph
from support.vits import KINDS, MEAN, STD

# Have positions for one size of image, and bring them to others only if told to.
OF_ONE_SIZE = ('ViTModel', 'ViTMSNModel', 'DeiTModel', 'IJepaModel', 'SiglipVisionModel', 'CLIPVisionModel')
# Tokens before those of the patches, where there are others than one for the class.
PREFIX = {
    'DeiTModel': 2,
    'IJepaModel': 0,
    'SiglipVisionModel': 0,
    'RadioModel': 10,
    'Dinov2WithRegistersModel': 5,
    'DINOv3ViTModel': 5,
}


@torch.no_grad()
def original(folder, kind: str, image_rgb: np.ndarray, input_hw, layer: str = 'last') -> torch.Tensor:
    """Return the features [h, w, C] by the original class, whole, as its documentation tells."""
    kind = getattr(transformers, KINDS[kind][2])
    network = kind.from_pretrained(folder).eval()
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    pixels = torch.from_numpy(image_rgb).permute(2, 0, 1)[None].float()
    pixels = (F.interpolate(pixels, input_hw, mode='bilinear', antialias=True) / 255 - mean) / std
    found = {}
    for name, module in network.named_modules():
        parts = name.split('.')
        if parts[-1] in ('k_proj', 'v_proj'):
            block = next(int(part) for part in parts if part.isdigit())
            part = {'k_proj': 'keys', 'v_proj': 'values'}[parts[-1]]
            module.register_forward_hook(
                lambda _, inputs, output, key=f'{block + 1}.{part}': found.update({key: output})
            )
    options = {'interpolate_pos_encoding': True} if kind.__name__ in OF_ONE_SIZE else {}
    output = network(pixels, output_hidden_states=True, **options)
    found |= {f'{i}.tokens': tokens for i, tokens in enumerate(output.hidden_states)}
    found['last'] = output.last_hidden_state
    height, width = (side // network.config.patch_size for side in input_hw)
    prefix = PREFIX.get(kind.__name__, 1)
    return found[layer][0, prefix:].reshape(height, width, -1)


def extractor_of(folder, **options):
    return create_extractor(str(folder), **{'device': 'cpu', 'kernel': 'plain', 'precision': 'float32', **options})


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    ('options', 'image_hw', 'cells'),
    [
        ({}, (60, 80), (24, 32)),
        ({'input_size': 112, 'aspect': '1x1'}, (60, 80), None),  # 7 or 8 patches
        ({'input_size': 336}, (200, 50), None),
        ({'input_size': 112, 'aspect': '16:9', 'layer': '2.tokens'}, (60, 80), None),
        ({'input_size': 112, 'layer': '2.keys'}, (60, 80), None),
        ({'input_size': 112, 'layer': '3.values'}, (60, 80), None),
        ({'input_size': 112, 'layer': '1'}, (60, 80), None),
    ],
)
def test_features_are_those_of_the_original_class(vits, kind, options, image_hw, cells):
    image = photograph(*image_hw)
    extractor = extractor_of(vits[kind], **options)
    found = extractor(image).features
    assert found.shape == (*extractor.grid_hw(image_hw), extractor.channels)
    assert cells in (None, found.shape[:2])
    input_hw = tuple(side * extractor.patch for side in found.shape[:2])
    layer = options.get('layer', 'last')
    expected = original(vits[kind], kind, image, input_hw, '1.tokens' if layer == '1' else layer)
    assert (found - expected).abs().max() < 1e-5 * max(1, expected.abs().max())
    assert expected.std() > 0.05


@pytest.mark.parametrize(
    ('options', 'image_hw', 'input_hw'),
    [
        ({'input_size': 392}, (480, 640), (336, 448)),
        ({}, (480, 640), (336, 448)),
        ({}, (640, 480), (448, 336)),
        ({}, (1080, 1920), (294, 518)),
        ({}, (10, 4000), (140, 1106)),  # beyond 8:1 as of 8:1
        ({'aspect': '1x1'}, (480, 640), (392, 392)),
        ({'input_size': 14}, (480, 640), (14, 14)),
    ],
)
def test_the_size_of_the_input(vits, options, image_hw, input_hw):
    extractor = extractor_of(vits['dinov2'], **options)
    pixels = extractor.upload([np.zeros((*image_hw, 3), np.uint8)])
    assert tuple(pixels.shape[2:]) == input_hw
    assert extractor.grid_hw(image_hw) == tuple(side // 14 for side in input_hw)


@pytest.mark.parametrize('kind', ['dinov2', 'clip'])
def test_blocks_after_the_layer_are_not_there(vits, kind):
    whole, part = (extractor_of(vits[kind], layer=layer) for layer in ('last', '2.keys'))
    names, kept = ({name for name, _ in extractor._network.named_modules()} for extractor in (whole, part))
    assert any('.2.' in name for name in names)
    assert not any('text' in name or '.2.' in name for name in kept)
    assert not any(p.requires_grad for p in part._network.parameters())


@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
def test_half_precision(vits, precision):
    image = photograph(60, 80)
    for kind in ('dinov2', 'dinov3', 'siglip'):
        found, expected = (extractor_of(vits[kind], precision=p)(image).features for p in (precision, 'float32'))
        assert found.dtype == torch.float32
        assert 0 < (found - expected).norm() / expected.norm() < 3e-2


@pytest.mark.parametrize('kind', KINDS)
def test_attention_of_a_cpu_in_bfloat16(vits, kind, monkeypatch):
    """One head after the other: as the fused one, but for rounding, and each block takes it."""
    image = photograph(60, 80)
    options = {'precision': 'bfloat16', 'input_size': 112}
    expected = extractor_of(vits[kind], input_size=112)(image).features
    by_head = extractor_of(vits[kind], **options)
    blocks = []
    attend = attention._by_head
    monkeypatch.setattr(
        attention, '_by_head', lambda module, *rest, **more: blocks.append(module) or attend(module, *rest, **more)
    )
    watched = extractor_of(vits[kind], **options)
    found = watched(image).features
    assert len({id(block) for block in blocks}) == len(blocks) == 3
    assert torch.equal(by_head(image).features, found)
    monkeypatch.setattr(attention, '_ROWS', 20)  # of 50 and more tokens
    in_parts = extractor_of(vits[kind], **options)(image).features
    assert (in_parts - found).norm() / found.norm() < 1e-2
    monkeypatch.setattr(extractor_module, 'attend_by_head', lambda network: None)
    fused = extractor_of(vits[kind], **options)(image).features
    errors = [(features - expected).norm() / expected.norm() for features in (found, fused)]
    assert 0 < errors[0] < max(1.5 * errors[1], 5e-3)


def test_auto_takes_what_the_processor_has(vits, monkeypatch):
    """Where there are instructions for bfloat16, else float32; it is in the description, which the log has."""
    for known, name in (
        ({'avx512_bf16': True, 'amx_bf16': False}, 'bfloat16'),
        ({'avx512_bf16': False, 'amx_bf16': True}, 'bfloat16'),
        ({'avx512_f': True}, 'float32'),
    ):
        monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda known=known: known, raising=False)
        assert f' in {name}, ' in extractor_of(vits['dinov2'], precision='auto').description
    monkeypatch.delattr(torch.cpu, 'get_capabilities')
    assert ' in float32, ' in extractor_of(vits['dinov2'], precision='auto').description
    assert ' in bfloat16, ' in extractor_of(vits['dinov2'], precision='bfloat16').description


def test_an_overflow_is_told_with_what_to_do(vits):
    extractor = extractor_of(vits['dinov2'], precision='float16')
    with torch.no_grad():
        for name, parameter in extractor._network.named_parameters():
            if 'mlp' in name and parameter.ndim > 1:
                parameter *= 3000
    problem = r'^features: expected finite .* in float16 \(vit\.precision\); take bfloat16 or float32$'
    with pytest.raises(ValueError, match=problem):
        extractor(photograph(60, 80))


def test_several_images_of_several_sizes(vits):
    extractor = extractor_of(vits['dinov2'])
    images = [photograph(60, 80, 1), photograph(60, 80, 2), photograph(48, 32, 3), photograph(60, 80, 4)]
    for image, together in zip(images, extractor.batch(images), strict=True):
        assert together.image_size_hw == image.shape[:2]
        assert (together.features - extractor(image).features).abs().max() < 1e-4


def test_the_joint_kernel_is_the_default(vits):
    """Random weights: the segments mean nothing, their form does."""
    extractor = create_extractor(str(vits['dinov2']), device='cpu')
    assert 'joint kernel (statistics computed in ' in extractor.description
    image = photograph(120, 160)
    assert extractor.grid_hw((120, 160)) == extractor(image).grid_hw == (32, 43)
    result = Segmenter(extractor).segment(image)
    assert result.labels.shape == (120, 160)
    assert result.segments[0].feature.shape == (extractor.channels,)


def test_an_array_that_must_not_be_written_to(vits):
    image = photograph(60, 80)
    extractor = extractor_of(vits['vit'])
    expected = extractor(image.copy()).features
    image.setflags(write=False)
    assert torch.equal(extractor(image).features, expected)


@pytest.mark.parametrize(
    ('kind', 'options', 'problem'),
    [
        ('dinov2', {'input_size': 400}, 'input_size: expected a multiple of 14, .*, received 400; .* 392 and 406$'),
        ('dinov3', {'input_size': 10}, 'input_size: expected a multiple of 16, .*, received 10; .* 16 and 32$'),
        ('dinov2', {'aspect': 'wide'}, "aspect: expected WIDTHxHEIGHT .*, received 'wide'"),
        ('dinov2', {'precision': 'int8'}, 'precision: expected one of auto, float32, bfloat16, float16, received'),
        ('dinov2', {'kernel': 'cosine'}, 'kernel: expected one of joint, plain, received'),
        ('dinov2', {'layer': '4.keys'}, "layer: expected last, or N.tokens, .* from 1 to 3, .* received '4.keys'"),
        ('clip', {'layer': '0.tokens'}, "layer: .* received '0.tokens'"),
        ('clip', {'layer': '2.queries'}, "layer: .* received '2.queries'"),
        ('dinov2', {'vae': 'tiny'}, 'expected options among input_size, .*, received vae'),
    ],
)
def test_bad_settings(vits, kind, options, problem):
    with pytest.raises(ValueError, match=problem):
        extractor_of(vits[kind], **options)


def test_fingerprint_tells_weights_and_settings_apart(vits):
    plain = extractor_of(vits['dinov2']).fingerprint()
    assert extractor_of(vits['dinov2']).fingerprint() == plain
    joint = create_extractor(str(vits['dinov2']), device='cpu')
    changed = extractor_of(vits['dinov2'])
    with torch.no_grad():
        next(changed._network.parameters()).mul_(1.001)  # a checkpoint of the same form, trained a little further
    others = [
        extractor_of(vits['dinov2'], layer='3.tokens'),
        extractor_of(vits['dinov2'], input_size=112),
        extractor_of(vits['dinov2'], aspect='1x1'),
        extractor_of(vits['dinov2'], precision='bfloat16'),
        extractor_of(vits['registers']),
        joint,
        changed,
    ]
    assert len({plain, *(other.fingerprint() for other in others)}) == len(others) + 1


def test_names_do_not_stand_for_two_kinds():
    assert len(MODELS) == sum(len(names) for names in NAMES.values())


def test_a_graph_for_each_size_of_the_input(vits):
    """That for images of 4:3 before there is one, others with the first image."""
    images = [photograph(60, 80, 1), photograph(60, 80, 2), photograph(48, 32, 3), photograph(60, 80, 4)]
    extractor = extractor_of(vits['dinov2'])
    expected = [feature_map.features for feature_map in extractor.batch(images)]
    graphs = extractor._graphs = Pretended()
    extractor.prepare(1)
    assert [one.shape for one in graphs.found] == [(1, 3, 336, 448)]
    for _ in range(2):
        for feature_map, features in zip(extractor.batch(images), expected, strict=True):
            assert torch.equal(feature_map.features, features)
    assert [(one.shape, one.runs) for one in graphs.found] == [
        ((1, 3, 336, 448), 2),
        ((2, 3, 336, 448), 2),
        ((1, 3, 476, 322), 2),
    ]


def test_operations_are_counted_of_the_network_not_of_a_graph(vits):
    extractor = extractor_of(vits['dinov2'], input_size=112)
    pixels = extractor.upload([photograph(60, 80)])
    expected = extractor.operations(pixels)
    graphs = extractor._graphs = Pretended()
    extractor.features(pixels)
    assert extractor.operations(pixels) == expected
    assert [one.runs for one in graphs.found] == [1]


def test_without_graphs_features_are_the_same_and_the_reason_is_told_once(vits):
    images = [photograph(60, 80, seed) for seed in range(2)]
    extractor = extractor_of(vits['dinov2'])
    expected = extractor.batch(images)[1].features
    graphs = extractor._graphs = Failing()
    for _ in range(2):
        assert torch.equal(extractor.batch(images)[1].features, expected)
    assert graphs.tried == [(2, 3, 336, 448)]
    assert extractor.description.endswith(' kernel, without CUDA graphs for 2 of 448x336 px (the reason)')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
@pytest.mark.parametrize('kind', KINDS)
def test_on_a_gpu_graphs_give_what_the_cpu_gives(vits, kind):
    images = [photograph(60, 80, 1), photograph(60, 80, 2), photograph(48, 32, 3), photograph(60, 80, 4)]
    on_cpu, on_gpu = (extractor_of(vits[kind], device=device) for device in ('cpu', 'cuda'))
    kept = [(one.features, one.features.clone()) for one in on_gpu.batch(images)]
    for image, (features, _) in zip(images, kept, strict=True):
        expected = on_cpu(image).features
        assert (on_gpu(image).features.cpu() - expected).norm() / expected.norm() < 1e-2
        assert (features.cpu() - expected).norm() / expected.norm() < 1e-2
    assert 'without CUDA graphs' not in on_gpu.description
    for features, before in kept:  # a later image must not overwrite an earlier one's
        assert torch.equal(features, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
def test_on_a_gpu(vits):
    image = photograph(120, 160)
    for kernel in ('plain', 'joint'):
        options = {'precision': 'float32', 'kernel': kernel}
        on_cpu, on_gpu = (create_extractor(str(vits['dinov2']), device=d, **options)(image) for d in ('cpu', 'cuda'))
        assert on_gpu.features.device.type == 'cuda'
        assert (on_gpu.features.cpu() - on_cpu.features).norm() / on_cpu.features.norm() < 1e-2
