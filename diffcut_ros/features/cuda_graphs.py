"""Networks as CUDA graphs: the kernels of a pass are launched at once, instead of one by one from Python.

A graph is of one shape of input and runs in memory that never moves, so each shape has one of its own.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffcut_ros.core.memory import within_memory

# A robot has images of a few shapes, a collection of photographs of hundreds; each shape takes memory.
MOST_SHAPES = 8

Function = Callable[[torch.Tensor], torch.Tensor]


class CudaGraphs:
    """The CUDA graphs of functions of one tensor, for the shapes that were prepared.

    On a CPU, and for other shapes, functions are called as they are.

    Args:
        device: where.
        most_shapes: as many are prepared; images of further ones are computed without a graph.
    """

    def __init__(self, device: torch.device, most_shapes: int = MOST_SHAPES) -> None:
        self._device, self._most_shapes = device, most_shapes
        self._prepared: set[tuple[int, ...]] = set()
        # By the function's name and the shape of its input. Functions are not kept: they belong to who keeps this.
        self._graphs: dict[tuple[str, tuple[int, ...]], _Graph] = {}
        self._stream: torch.cuda.Stream | None = None
        self._memory_pool: tuple[int, int] | None = None

    def __call__(self, function: Function, value: torch.Tensor) -> torch.Tensor:
        """Return what a function returns, as a tensor that no later call writes to."""
        graph = self._graphs.get((function.__name__, tuple(value.shape)))
        return graph(value) if graph else function(value)

    def prepare(
        self,
        functions: Sequence[Function],
        shape: tuple[int, ...],
        advice: str,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> str:
        """Capture functions for images of that shape; nothing on a CPU, or where that was tried before.

        Args:
            functions: each takes what the one before returns. All their tensors are on the device, and nothing in them
                waits for it; they differ by their names.
            shape: [B, 3, H, W] of the first one's input, float32.
            advice: see `within_memory`.
            memory_format: of that input.

        Returns:
            Why they will be computed without, as a part of a description; empty otherwise.

        Raises:
            MemoryError: when the device has too little memory.
        """
        if self._device.type != 'cuda' or shape in self._prepared or len(self._prepared) >= self._most_shapes:
            return ''
        self._prepared.add(shape)  # also where it fails, which it would again
        try:
            graphs = within_memory(lambda: self._capture(functions, shape, memory_format), self._device, advice)
        except RuntimeError as error:
            # Slower, and the same features. Where a capture is broken off, its end fails as well, for no reason of its
            # own.
            reason = str(error.__context__ or error).partition('\n')[0]
            return f', without CUDA graphs for {shape[0]} of {shape[3]}x{shape[2]} px ({reason})'
        self._graphs |= {(f.__name__, graph.shape): graph for f, graph in zip(functions, graphs, strict=True)}
        return ''

    @torch.inference_mode()
    def _capture(
        self, functions: Sequence[Function], shape: tuple[int, ...], memory_format: torch.memory_format
    ) -> list['_Graph']:
        # One stream for all: blocks of shared memory are only used again on the stream that they were made on.
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
        stream = self._stream
        stream.wait_stream(torch.cuda.current_stream(self._device))  # where the weights are still being converted
        graphs: list[_Graph] = []
        memory_pool = self._memory_pool
        with torch.cuda.device(self._device), torch.cuda.stream(stream):
            value = torch.zeros(shape, device=self._device).contiguous(memory_format=memory_format)
            for function in functions:
                # They never run at the same time, so each may use the memory that the others are done with.
                graphs.append(_Graph(function, value, stream, memory_pool))
                memory_pool, value = graphs[-1].memory_pool, graphs[-1].output
        self._memory_pool = memory_pool
        stream.synchronize()
        torch.cuda.empty_cache()  # what only the capture needed
        return graphs


class _Graph:
    """A function of one tensor as CUDA graph.

    Attributes:
        shape: of its input.
        output: where it leaves what it returns, until the next graph of the same memory runs.
        memory_pool: what it takes its memory from.
    """

    def __init__(
        self,
        function: Function,
        example: torch.Tensor,
        stream: torch.cuda.Stream,
        memory_pool: tuple[int, int] | None,
    ) -> None:
        self.shape = tuple(example.shape)
        self._input = example.clone()
        # Libraries choose their kernels and set up memory in the first calls, which a capture does not allow.
        for _ in range(2):
            function(self._input)
        with Read() as read:
            function(self._input)
        self._read = read.memory
        self._graph = torch.cuda.CUDAGraph()
        # Other threads, such as those of a second node in this process, may use the device meanwhile.
        with torch.cuda.graph(
            self._graph,
            pool=memory_pool,  # type: ignore[arg-type]  # PyTorch has a private name for this type
            stream=stream,
            capture_error_mode='thread_local',
        ):
            self.output = function(self._input)
        self.memory_pool = self._graph.pool()

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        self._input.copy_(value)
        self._graph.replay()
        return self.output.clone()  # the next image overwrites it


class Read(TorchDispatchMode):
    """Keeps the memory that operations inside read and did not make.

    A graph knows addresses only: what it reads must not be freed. Networks keep what they compute once for each size of
    input, such as the coordinates of patches, and drop it after a number of other sizes; and weights that are converted
    get other memory.

    Attributes:
        memory: by its address.
    """

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[int, torch.UntypedStorage] = {}
        self._made: set[int] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        """Do the operation."""
        result = operation(*arguments, **(options or {}))
        self.memory |= {at: storage for at, storage in _storages((arguments, options)) if at not in self._made}
        # In-place operations return what they were given.
        self._made |= {at for at, _ in _storages(result) if at not in self.memory}
        return result


def _storages(values: Any) -> list[tuple[int, torch.UntypedStorage]]:
    """Return the memory of all tensors in nested values, with its address."""
    storages = [value.untyped_storage() for value in tree_leaves(values) if isinstance(value, torch.Tensor)]
    return [(storage.data_ptr(), storage) for storage in storages]
