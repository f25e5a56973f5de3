"""What to say when nothing comes: what is missing, and what may help, from what the middleware knows of the others."""

import difflib
import math
import os
from collections.abc import Collection, Iterator
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from diffcut_ros.node.camera import Camera
from diffcut_ros.node.diagnostics import RATE_WINDOW_S
from diffcut_ros.node.subscription import Subscription, full_names
from diffcut_ros.printable import counted
from diffcut_ros.shared_memory import SHARED_MEMORY, fast_dds_is_set, shared_memory_left

NO_INPUT_S = 5.0
_MOST_TOPICS = 5
# What some megapixels of colour take, in bytes.
_LARGE_IMAGE = 16e6
_TRANSPORTS = ('compressed', 'compressedDepth')
_IMAGES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


def silences(node: Node, camera: Camera, cameras: Collection[Camera]) -> Iterator[tuple[Subscription, str]]:
    """Say of each topic of a camera that nothing comes from what may help.

    A publisher that has just appeared may take its time: of its topic nothing is said yet.

    Args:
        node: that listens.
        camera: whose topics.
        cameras: all of the node, whose topics are no advice.
    """
    lost = camera.record.lost_lately()
    for subscription in camera.silent(NO_INPUT_S):
        if subscription.newest_publisher_s() < NO_INPUT_S:
            continue
        what = 'image' if subscription.topic == camera.topic else 'message'
        taken = {name for one in cameras for topic in one.input_topics for name in _spellings(topic)}
        advice = _on_silence(node, subscription, lost[subscription.topic], camera.came_s(subscription.topic), taken)
        others_do = not camera.gets_depth and any(one.gets_depth for one in cameras)
        if subscription.topic == camera.depth_topic and others_do:
            advice += '; `depth` holds for all cameras of a node; a camera without depth needs a node of its own'
        count = subscription.count_publishers()
        yield subscription, f'no {what} in {NO_INPUT_S:.0f} s on {subscription.topic} ({count}); {advice}'


def complaints(camera: Camera) -> Iterator[str]:
    """Say what of a camera's messages gets lost, or cannot be joined, and what may help."""
    for subscription in camera.subscriptions:
        if count := camera.record.often_lost()[subscription.topic]:
            yield (
                f'{subscription.topic}: {counted(count, "message")} lost on the way in {RATE_WINDOW_S:g} s; '
                f'{on_losses(subscription)}'
            )
    if not camera.silent(NO_INPUT_S) and camera.record.alone_s() > NO_INPUT_S and not camera.record.rejected_lately():
        slop = camera.config.sync_slop_s
        yield f'{camera.topic}: no message within {slop:g} s (sync_slop_s) of its images on {camera.input_topics[-1]}'


def misfits(camera: Camera) -> Iterator[str]:
    """Say which publishers offer less than overrides ask for: nothing is received from these."""
    for subscription in camera.subscriptions:
        for policy, info in subscription.unmet():
            yield (
                f'{subscription.topic}: {subscription.parameter(policy)} asks for more than {full_names([info])} '
                'offers, so nothing comes from there; without it the best that all offer is taken'
            )


def twins(node: Node) -> str:
    """Say that another node has the same name, or return an empty string."""
    name = node.get_fully_qualified_name()
    count = [f'{space.rstrip("/")}/{one}' for one, space in node.get_node_names_and_namespaces()].count(name)
    if count < 2:
        return ''
    return (
        f'{count} nodes are called {name}, this one (process {os.getpid()}) and another: both publish into the same '
        'topics. Give one of them another name, -r __node:=NAME, or namespace, -r __ns:=/NAME. One that was killed '
        'counts for some seconds more'
    )


def _on_silence(node: Node, subscription: Subscription, lost: int, came_s: float | None, taken: set[str]) -> str:
    if publishers := subscription.publishers():
        if lost:
            return on_losses(subscription)
        more = _or_too_large(subscription) if came_s is None else f' any more; the last one came {came_s:.0f} s ago'
        return f'{full_names(publishers)} publishes on it, but sends nothing{more}'
    if others := subscription.publishers(of_type=False):
        types = ', '.join(sorted({info.topic_type for info in others}))
        return f'{full_names(others)} publishes {types}, expected {subscription.message_type}'
    if came_s is not None:
        return f'they have ended: the last one came {came_s:.0f} s ago, and what sent it has gone'
    if topics := _published(node, subscription, subscription.message_type, taken):
        more = f' and {len(topics) - _MOST_TOPICS} more' * (len(topics) > _MOST_TOPICS)
        there = f'{subscription.message_type} is on {", ".join(topics[:_MOST_TOPICS])}{more}; to listen there'
        return f'{there}, remap: --ros-args -r {subscription.name}:={_base(topics[0], subscription.message_type)}'
    if subscription.message_type in _IMAGES:
        (other,) = {*_IMAGES} - {subscription.message_type}
        if topics := _published(node, subscription, other, taken):
            base = _base(topics[0], other)
            transport = topics[0][len(base) + 1 :] or 'raw'
            # Parameters image_transport and depth_transport.
            arguments = (
                f'-r {subscription.name}:={base} -p {subscription.name.rpartition("/")[2]}_transport:={transport}'
            )
            return f'{other} is on {topics[0]}; to listen there: --ros-args {arguments}'
    return f'to listen elsewhere, remap: --ros-args -r {subscription.name}:=/your/camera/topic'


def _published(node: Node, subscription: Subscription, message_type: str, taken: set[str]) -> list[str]:
    """Return the topics of a type that may be meant, those with the most similar names first.

    Neither those that are taken, nor outputs, of this node or another one of its kind, nor depth by its name in place
    of an image.
    """
    own = node.get_fully_qualified_name()
    there = dict(node.get_topic_names_and_types())
    depth_wanted = subscription.name.rpartition('/')[2] == 'depth'
    topics = [
        topic
        for topic, types in there.items()
        if message_type in types
        and not topic.startswith(f'{own}/')
        and not taken & _spellings(topic)
        and f'{topic.rpartition("/")[0]}/label_info' not in there
        and (depth_wanted or message_type not in _IMAGES or not _named_depth(topic))
        and node.count_publishers(topic)
    ]

    def rank(topic: str) -> tuple[bool, float]:
        alike = difflib.SequenceMatcher(None, subscription.topic, topic).ratio()
        return depth_wanted and not _named_depth(topic), -alike

    return sorted(topics, key=rank)


def _named_depth(topic: str) -> bool:
    return any(word in topic.lower() for word in ('depth', 'disparity'))


def _spellings(topic: str) -> set[str]:
    """Return a topic with and without the name of its transport: what one of both shows, the other does."""
    base, _, last = topic.rpartition('/')
    return {topic, base} if last in _TRANSPORTS else {topic}


def _base(topic: str, message_type: str) -> str:
    """Return the name to remap to: without that of the transport, which the node adds."""
    return topic.rpartition('/')[0] if message_type == _IMAGES[1] else topic


def on_losses(subscription: Subscription) -> str:
    """Say what may help where messages of a topic get lost; nothing after which none would come."""
    if subscription.delivery.startswith('reliable'):
        slow = 'this machine or the network is too slow for them: send fewer, smaller or compressed images'
        return f'{slow}{_or_too_large(subscription)}'
    unreliable = [
        info for info in subscription.publishers() if info.qos_profile.reliability != ReliabilityPolicy.RELIABLE
    ]
    if unreliable:
        return f'let {full_names(unreliable)} offer reliable delivery, or compressed images'
    if not subscription.overridden('reliability'):  # it follows what is offered, and that was no more
        return 'let what publishes on it offer reliable delivery, or compressed images'
    known = bool(subscription.publishers())
    condition = '' if known else ' if what publishes on it offers that (else nothing would come)'
    return f'large images may get lost: try -p {subscription.parameter("reliability")}:=reliable{condition}'


def _or_too_large(subscription: Subscription) -> str:
    """Name what keeps large images from arriving by this machine's settings; empty: nothing that is known."""
    if subscription.message_type not in _IMAGES:  # compressed ones, too: they share it with those of depth
        return ''
    causes = []
    middleware = rclpy.get_rmw_implementation_identifier()
    if 'fastrtps' in middleware and not fast_dds_is_set():
        causes.append("Fast DDS's shared memory holds 512 KB by default")
    if 'cyclonedds' in middleware and (most := _receive_buffer()) < _LARGE_IMAGE:
        causes.append(f'net.core.rmem_max is {most}')
    if (free := shared_memory_left()) < _LARGE_IMAGE:
        causes.append(f'{SHARED_MEMORY} has {free / 1e6:.0f} MB left')
    return f', or its images are too large: {", ".join(causes)}, see docs/large_images.md' if causes else ''


def _receive_buffer() -> float:
    try:
        return int(Path('/proc/sys/net/core/rmem_max').read_text())
    except (OSError, ValueError):
        return math.inf
