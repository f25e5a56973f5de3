"""CUDA graphs where there is no CUDA device: which are captured, and what follows where that fails.

A graph is then the function itself. That kernels run in one, and what is in its memory, only a GPU can show.
"""

import torch

from diffcut_ros.features.cuda_graphs import CudaGraphs


class Captured:
    """Stands for a graph: a function, the shape of its input, and how often it was run."""

    def __init__(self, function, shape):
        self.function, self.shape, self.runs = function, shape, 0

    def __call__(self, value):
        self.runs += 1
        return self.function(value)


class Pretended(CudaGraphs):
    """Captures nothing; `found` has what would be."""

    def __init__(self):
        super().__init__(torch.device('cuda'))
        self.found = []

    @torch.inference_mode()
    def _capture(self, functions, shape, memory_format):
        value, made = torch.zeros(shape), []
        for function in functions:
            made.append(Captured(function, tuple(value.shape)))
            value = function(value)
        self.found += made
        return made


class Failing(CudaGraphs):
    """Fails as `torch.cuda.graph` does, whose end fails as well; `tried` has the shapes."""

    def __init__(self):
        super().__init__(torch.device('cuda'))
        self.tried = []

    def _capture(self, functions, shape, memory_format):
        self.tried.append(shape)
        try:
            raise RuntimeError('the reason\nand what to do')
        finally:
            raise RuntimeError('a previous error during capture')
