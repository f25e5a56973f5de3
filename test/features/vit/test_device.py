"""What is captured as a CUDA graph has all of its tensors on the device, and nothing that the host waits for.

On a device without one, see `support.device`: it cannot show what loading puts on a GPU, only what is done there.
"""

import pytest
import torch

from diffcut_ros.features import create_extractor
from support.device import DEVICE, fake, on_device
from support.vits import KINDS


# Sizes differ: DINOv3 keeps the coordinates of each, and fake tensors of one test are not those of the next.
@pytest.mark.parametrize(('precision', 'rows'), [('float32', 5), ('bfloat16', 6), ('float16', 7)])
@pytest.mark.parametrize('kind', KINDS)
def test_what_is_captured_stays_on_the_device(vits, kind, precision, rows):
    options = {'precision': 'float32', 'kernel': 'plain', 'input_size': 112}
    extractor = create_extractor(str(vits[kind]), device='cpu', **options)  # float32: as on a GPU, attention is fused
    network = extractor._network.to(getattr(torch, precision))
    extractor.precision = getattr(torch, precision)
    with on_device():
        for module in network.modules():
            for name, value in list(module.named_parameters(recurse=False)):
                setattr(module, name, torch.nn.Parameter(fake(value), requires_grad=False))
            for name, value in list(module.named_buffers(recurse=False)):
                setattr(module, name, fake(value))
        features = extractor._compute(torch.empty(2, 3, rows * extractor.patch, 8 * extractor.patch, device=DEVICE))
        assert (features.shape, features.dtype) == ((2, rows, 8, extractor.channels), torch.float32)
