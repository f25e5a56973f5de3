"""CUDA graphs: what is captured when, and what is computed where there is none.

Without a CUDA device, functions stand for graphs, see `support.cuda_graphs`.
"""

import functools

import pytest
import torch

from diffcut_ros.features.cuda_graphs import MOST_SHAPES, CudaGraphs, Read
from support.cuda_graphs import Failing, Pretended

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
ADVICE = 'take smaller images'


def double(value):
    return 2 * value


def mean(value):
    return value.mean((1, 2, 3))


def test_a_graph_for_each_shape():
    graphs = Pretended()
    functions = (double, mean)
    small, large = torch.rand(1, 3, 4, 5), torch.rand(2, 3, 6, 5)
    for shape in (small.shape, large.shape, small.shape):
        assert graphs.prepare(functions, tuple(shape), ADVICE) == ''
    assert [(one.function, one.shape) for one in graphs.found] == [
        (double, (1, 3, 4, 5)),
        (mean, (1, 3, 4, 5)),
        (double, (2, 3, 6, 5)),
        (mean, (2, 3, 6, 5)),
    ]
    for images in (small, large, torch.rand(1, 3, 6, 5)):  # of the last shape there is none
        assert torch.equal(graphs(mean, graphs(double, images)), (2 * images).mean((1, 2, 3)))
    assert [one.runs for one in graphs.found] == [1, 1, 1, 1]


def test_shapes_beyond_the_most_are_computed_without():
    graphs = Pretended()
    shapes = [(1, 3, 4, side) for side in range(1, MOST_SHAPES + 3)]
    for shape in shapes:
        assert graphs.prepare((double,), shape, ADVICE) == ''
    assert [one.shape for one in graphs.found] == shapes[:MOST_SHAPES]
    assert torch.equal(graphs(double, torch.ones(shapes[-1])), torch.full(shapes[-1], 2.0))


def test_none_are_made_on_a_cpu():
    graphs = CudaGraphs(torch.device('cpu'))
    assert graphs.prepare((double,), (1, 3, 4, 5), ADVICE) == ''
    assert graphs(double, torch.ones(1, 3, 4, 5)).sum() == 120


def test_a_failure_is_told_once_and_not_tried_again():
    graphs = Failing()
    told = [graphs.prepare((double,), (2, 3, 4, 5), ADVICE) for _ in range(2)]
    assert told == [', without CUDA graphs for 2 of 5x4 px (the reason)', '']
    assert graphs.tried == [(2, 3, 4, 5)]
    assert graphs(double, torch.ones(2, 3, 4, 5)).sum() == 240


def test_too_little_memory_is_an_error_with_what_to_do(monkeypatch):
    graphs = CudaGraphs(torch.device('cuda'))

    def capture(functions, shape, memory_format):
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')

    monkeypatch.setattr(graphs, '_capture', capture)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: None)
    with pytest.raises(MemoryError, match=f'out of memory on cuda: {ADVICE} .*2 GiB'):
        graphs.prepare((double,), (1, 3, 4, 5), ADVICE)
    assert graphs.prepare((double,), (1, 3, 4, 5), ADVICE) == ''  # the next image is tried without


def test_what_a_function_keeps_of_its_own_is_kept_for_the_graph():
    """As networks keep coordinates for the latest sizes; of what is made inside, nothing is kept."""

    @functools.lru_cache(maxsize=1)
    def coordinates(count):
        return torch.arange(float(count))

    weight = torch.ones(5)

    def function(value):
        added = value + coordinates(5)
        added.mul_(weight[1:2])
        return torch.cat([added, added])

    value = torch.ones(5)
    function(value)  # as before a capture
    with torch.inference_mode(), Read() as read:
        function(value)
    kept = {tensor.untyped_storage().data_ptr() for tensor in (value, coordinates(5), weight)}
    assert set(read.memory) == kept
    coordinates(6)
    others = [torch.zeros(5) for _ in range(100)]
    assert not {tensor.data_ptr() for tensor in others} & kept  # the coordinates' memory is not given to others


def test_weights_that_are_converted_are_kept_as_they_were():
    layer = torch.nn.Linear(4, 4, bias=False).requires_grad_(False)
    before = layer.weight.data_ptr(), layer.weight.clone()
    with Read() as read:
        layer(torch.ones(1, 4))
    layer.to(torch.bfloat16)
    kept = torch.empty(0).set_(read.memory[before[0]]).reshape(4, 4)
    assert torch.equal(kept, before[1])


@ON_GPU
def test_on_a_gpu():
    device = torch.device('cuda')
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).to(device).requires_grad_(False)

    def run(images):
        return network(images)

    graphs = CudaGraphs(device)
    images = [torch.rand(batch, 3, 16, side, device=device) for batch, side in ((1, 16), (2, 24), (1, 32))]
    for value in images:
        assert graphs.prepare((run, mean), tuple(value.shape), ADVICE) == ''
    with torch.inference_mode():
        first = graphs(mean, graphs(run, images[0]))
        kept = first.clone()
        for value in (*images, *images[::-1]):  # shapes share their memory: in any order
            expected = mean(run(value))
            assert (graphs(mean, graphs(run, value)) - expected).abs().max() < 1e-4
        assert torch.equal(first, kept)  # a later image must not overwrite an earlier one's


@ON_GPU
def test_what_a_graph_reads_on_a_gpu_stays():
    """Coordinates that the network has dropped meanwhile, and whose memory others have."""
    device = torch.device('cuda')

    @functools.lru_cache(maxsize=1)
    def coordinates(count):
        return torch.arange(float(count), device=device)

    def shifted(images):
        return images + coordinates(images.shape[3])

    graphs = CudaGraphs(device)
    assert graphs.prepare((shifted,), (1, 3, 4, 5), ADVICE) == ''
    coordinates(6)
    others = [torch.full((5,), 7.0, device=device) for _ in range(100)]
    found = graphs(shifted, torch.zeros(1, 3, 4, 5, device=device))
    assert found[0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert len(others) == 100
