"""What a device spends its time with while one image is segmented: kernels by their time, with random weights."""

import argparse
import json
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from diffcut_ros.benchmarks.graphs import photographs
from diffcut_ros.core import Segmenter, SegmenterConfig
from diffcut_ros.features import create_extractor

_ROWS = 40


def main() -> None:
    """Print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--json', type=Path, required=True)
    args = parser.parse_args()
    device = torch.device(args.device)
    segmenter = Segmenter(_extractor(device), SegmenterConfig())
    image = photographs()[0]
    for _ in range(3):
        segmenter.segment(image)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == 'cuda')
    with profile(activities=activities) as profiled:
        segmenter.segment(image)
        if device.type == 'cuda':
            torch.cuda.synchronize()
    order = f'self_{device.type}_time_total'
    averages = profiled.key_averages()
    print(averages.table(sort_by=order, row_limit=_ROWS, max_name_column_width=70))
    rows = [
        {
            'name': one.key,
            'calls': one.count,
            'self_cpu_us': one.self_cpu_time_total,
            'self_device_us': one.self_device_time_total,
        }
        for one in averages
    ]
    rows.sort(key=lambda row: row['self_device_us'] + row['self_cpu_us'], reverse=True)
    args.json.write_text(json.dumps(rows, indent=1))


def _extractor(device: torch.device):
    if device.type == 'cpu':  # a network of that size takes too long here
        return create_extractor('color', device=device)
    from diffcut_ros.benchmarks.random_weights import random_encoder
    from diffcut_ros.features.diffusion.config import DiffusionConfig
    from diffcut_ros.features.diffusion.extractor import DiffusionExtractor

    return DiffusionExtractor(random_encoder('ssd-1b'), DiffusionConfig(), device)


if __name__ == '__main__':
    main()
