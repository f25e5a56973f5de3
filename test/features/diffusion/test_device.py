"""What is captured as CUDA graphs has all of its tensors on the device, and nothing that the host waits for.

On a device without one, see `support.device`: it cannot show what loading puts on a GPU, only what is done there.
"""

import pytest
import torch

from diffcut_ros.features import create_extractor
from support.device import DEVICE, fake, on_device


@pytest.mark.parametrize('precision', ['float32', 'bfloat16', 'float16'])
@pytest.mark.parametrize(('kind', 'vae'), [('sdxl', 'full'), ('sdxl', 'tiny'), ('sd1', 'full')])
def test_what_is_captured_stays_on_the_device(checkpoints, kind, vae, precision):
    options = {'precision': precision, 'vae': vae, 'tiny_vae': str(checkpoints['tiny'])}
    extractor = create_extractor(str(checkpoints[kind]), device='cpu', input_size=128, **options)
    with on_device():
        for network in (extractor._vae, extractor._unet):
            network.load_state_dict({name: fake(value) for name, value in network.named_parameters()}, assign=True)
        for name in ('_prompt', '_noise', '_embedded'):
            setattr(extractor, name, fake(getattr(extractor, name)))
        images = torch.empty(2, 3, 128, 128, device=DEVICE).contiguous(memory_format=torch.channels_last)
        latents = extractor._encode(images)
        assert (latents.shape, latents.dtype) == ((2, 4, 16, 16), extractor.precision)
        features = extractor._attend(latents)
        assert (features.shape, features.dtype) == ((2, 4, 4, extractor.channels), extractor.precision)
