"""Features of several layers against hooks on the whole pipeline of the same checkpoint (random weights)."""

import pytest
import torch
import torch.nn.functional as F

from diffcut_ros.features import create_extractor
from diffcut_ros.features.diffusion.layers import LayersConfig, LayersExtractor
from support.scenes import photograph

ENCODER = {
    'sdxl': 'down_blocks.2.attentions.1.transformer_blocks.2.attn1',
    'sd1': 'down_blocks.2.attentions.1.transformer_blocks.0.attn1',
}
# One of a finer grid.
FINER = {
    'sdxl': 'down_blocks.1.attentions.1.transformer_blocks.1.attn1',
    'sd1': 'down_blocks.1.attentions.1.transformer_blocks.0.attn1',
}
# The last one of the decoder at the encoder's grid.
DECODER = {
    'sdxl': 'up_blocks.0.attentions.2.transformer_blocks.3.attn1',
    'sd1': 'up_blocks.1.attentions.2.transformer_blocks.0.attn1',
}


def extractor_of(folder, *layers, **options):
    return LayersExtractor(str(folder), LayersConfig(input_size=128, layers=layers, **options), torch.device('cpu'))


def unit(features: torch.Tensor) -> torch.Tensor:
    return F.normalize(features, dim=2)


@pytest.mark.parametrize('kind', ENCODER)
def test_layers_of_the_encoder_are_those_of_the_backend(checkpoints, kind):
    image = photograph(120, 200)
    first, second = (
        create_extractor(str(checkpoints[kind]), device='cpu', input_size=128, layer=layer)(image).features
        for layer in (ENCODER[kind], FINER[kind])
    )
    extractor = extractor_of(checkpoints[kind], ENCODER[kind], FINER[kind])
    found = extractor(image)
    assert found.image_size_hw == (120, 200)
    assert found.features.shape[2] == extractor.channels == first.shape[2] + second.shape[2]
    coarser = F.interpolate(second.permute(2, 0, 1)[None], first.shape[:2], mode='bilinear', antialias=True)[0]
    expected = torch.cat([unit(first), unit(coarser.permute(1, 2, 0))], 2)
    assert (found.features - expected).abs().max() < 1e-4


@pytest.mark.parametrize('kind', DECODER)
def test_a_layer_of_the_decoder_depends_on_all_before(checkpoints, kind):
    """The one thing that the backend has no answer for: it is what the hooked module gives in the whole network."""
    image = photograph(120, 200)
    extractor = extractor_of(checkpoints[kind], DECODER[kind], ENCODER[kind])
    found = extractor(image).features
    encoder = create_extractor(str(checkpoints[kind]), device='cpu', input_size=128)(image).features
    assert found.shape[:2] == encoder.shape[:2]
    channels = encoder.shape[2]
    assert (found[:, :, -channels:] - unit(encoder)).abs().max() < 1e-4
    kept = []
    network = extractor._unet.network
    network.get_submodule(DECODER[kind]).register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.no_grad():
        extractor._unet.run(image)
    expected = unit(kept[0].reshape(*found.shape[:2], -1))
    assert (found[:, :, :-channels] - expected).abs().max() < 1e-5


def test_unknown_layers_are_listed(checkpoints):
    with pytest.raises(ValueError, match=r'layers: received attn9; expected some that .*sd1 has: .*up_blocks.*attn1'):
        extractor_of(checkpoints['sd1'], 'attn9')
    with pytest.raises(ValueError, match='received none'):
        extractor_of(checkpoints['sd1'])
