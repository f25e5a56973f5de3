"""`diffcut_benchmark node`: what the node costs beside the pipeline: decoding images, building and publishing outputs.

A real node publishes to a subscriber in another process. Times are those of the calls, for a label image of 50
segments, tracking included. Overlay and features are computed only while someone subscribes to them.
"""

import argparse
import os
import statistics
import time

import numpy as np
import rclpy
import torch
from rclpy.lifecycle import LifecycleNode
from rich.table import Table
from std_msgs.msg import Header

from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.benchmarks.listener import OUTPUTS, listener
from diffcut_ros.core import FeatureMap, Frame, Pipeline, Result, SegmenterConfig, Tracker
from diffcut_ros.core.frame import describe_segments
from diffcut_ros.node.camera import Camera
from diffcut_ros.node.images import encode_image
from diffcut_ros.settings import NodeConfig, PointsConfig
from diffcut_ros.stream.decoder import Decoder
from diffcut_ros.stream.images import MAX_PIXELS
from diffcut_ros.stream.inputs import Inputs

_ENCODINGS = ('rgb8', 'bgr8')
_SEGMENTS_WH = (10, 5)


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its table.

    Raises:
        TimeoutError: when the subscriber does not start.
    """
    console = Figures()
    table = Table(title=f'overhead of the node per image: median of {args.repeats} (95th percentile), ms')
    console.begin(lambda: table)
    for column in ('size', 'encoding', 'decode', 'labels, segments', 'all', 'overlay, features, too', 'all'):
        table.add_column(column, justify='right')
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init(args=[])
    try:
        for width, height in args.sizes:
            for encoding in _ENCODINGS:
                decode = _times(args.repeats, width, height, encoding, everything=False)
                full = _times(args.repeats, width, height, encoding, everything=True)
                plain_all, full_all = ([sum(pair) for pair in zip(*times, strict=True)] for times in (decode, full))
                cells = [_text(times) for times in (decode[0], decode[1], plain_all, full[1], full_all)]
                table.add_row(f'{width}x{height}', encoding, *cells)
    finally:
        rclpy.try_shutdown()
    console.print(f'{os.cpu_count()} CPU cores, {os.environ.get("RMW_IMPLEMENTATION", "default middleware")}')
    console.finish()


def _times(repeats: int, width: int, height: int, encoding: str, everything: bool) -> tuple[list[float], list[float]]:
    """Return the seconds that decoding and publishing take, for each image."""
    node = LifecycleNode('diffcut_node_benchmark', enable_rosout=False)
    decoder = Decoder(MAX_PIXELS)
    camera = Camera(node, '', NodeConfig(), PointsConfig(), decoder, Pipeline(None), lambda *_: None, lambda *_: None)
    node.trigger_configure()
    node.trigger_activate()
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    columns, rows = _SEGMENTS_WH
    labels = np.add.outer(np.arange(height) * rows // height * columns, np.arange(width) * columns // width)
    concepts = np.full((columns * rows, 512), 0.04, np.float32)
    segmentation = describe_segments(labels, concepts, 0, 0.5)
    tracker, frame = Tracker(), Frame(image, FeatureMap(torch.ones(1, 1, 1), (height, width)))
    frame.cut(SegmenterConfig())  # what is published is not this, but what it takes is
    decode, publish = [], []
    try:
        with listener('/diffcut_node_benchmark', OUTPUTS if everything else OUTPUTS[:3]):
            _wait_for_listener(camera, everything)
            for _ in range(repeats + 5):
                message = encode_image(image, encoding, Header(frame_id='camera'))
                inputs = Inputs(message)
                start_s = time.perf_counter()
                inputs.check(MAX_PIXELS)
                scene = decoder.decode(inputs)
                middle_s = time.perf_counter()
                camera.publish(Result(scene, tracker.update(segmentation, scene.stamp_ns), frame, frame.last_cut))
                publish.append(time.perf_counter() - middle_s)
                decode.append(middle_s - start_s)
                time.sleep(0.02)  # the listener has its own work
    finally:
        camera.destroy()
        node.destroy_node()
    return decode[5:], publish[5:]


def _wait_for_listener(camera: Camera, everything: bool) -> None:
    deadline_s = time.monotonic() + 20
    while camera.listeners() < (len(OUTPUTS) if everything else 3):
        if time.monotonic() > deadline_s:
            raise TimeoutError('the listener did not subscribe within 20 s')
        time.sleep(0.05)


def _text(seconds: list[float]) -> str:
    return f'{1000 * statistics.median(seconds):.1f} ({1000 * np.percentile(seconds, 95):.1f})'
