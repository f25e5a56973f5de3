"""Too little memory: the image is given up, the error says what to do, the next image is processed."""

import subprocess
import sys

import pytest
import torch

from diffcut_ros.features import create_extractor
from support.scenes import photograph

# On a CPU memory is limited for the whole process, so this is one of its own.
PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from diffcut_ros.core import Segmenter
from diffcut_ros.features import create_extractor
segmenter = Segmenter(create_extractor(sys.argv[1], device='cpu', input_size=1024))
image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
first = segmenter.segment(image)
used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 20_000_000, resource.RLIM_INFINITY))
try:
    segmenter.segment(image)
except MemoryError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert len(segmenter.recut().segments) == len(first.segments)
assert len(segmenter.segment(image).segments) == len(first.segments)
"""


def test_on_a_cpu(checkpoints):
    command = [sys.executable, '-c', PROGRAM, str(checkpoints['sd1'])]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith('out of memory on cpu: the network at input 1024x1024 needs more; take a smaller')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
def test_on_a_gpu(checkpoints):
    extractor = create_extractor(str(checkpoints['sd1']), device='cuda', input_size=1024)
    images = [photograph(60, 80)] * 64
    whole, before = torch.cuda.get_device_properties('cuda').total_memory, torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((before + 2e8) / whole)
    try:
        with pytest.raises(MemoryError, match=r'out of memory on cuda.*: the network at input 1024x1024'):
            extractor.batch(images)
        # Not compared with what is allocated: graphs reserve memory that is only theirs.
        assert torch.cuda.memory_reserved() < before + 5e7
        assert extractor(images[0]).features.shape == (32, 32, 32)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
