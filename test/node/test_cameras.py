"""Several cameras, compressed images, depth, and cameras that nobody wants."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from diffcut_ros.node.images import encode_image
from support.domain import free_domain
from support.scenes import quadrants

RECIPES = Path(__file__).parents[2] / 'docs/recipes.md'
IMAGE = quadrants(64, 128)[0]
RELIABLE = 'qos_overrides.{}.subscription.reliability:=reliable'


def test_several_cameras_have_their_own_topics_and_share_one_backend(start_node, connect, small_bundle):
    domain = free_domain()
    options = ['-p', 'cameras:=[front, rear]', '-p', f'backend:={small_bundle}', '-p', 'diffusion.input_size:=128']
    for camera in ('front', 'rear'):
        options += ['-p', RELIABLE.format(f'/{camera}/image')]
    with (
        start_node(domain, *options) as node,
        connect(domain, 'one', camera='front') as front,
        connect(domain, 'two', camera='rear') as rear,
    ):
        node.wait_for_log('waiting for images on /front/image, /rear/image')
        assert node.log.count('full VAE in float32') == 1
        one, _ = front.segment(IMAGE)
        two, outputs = rear.segment(np.ascontiguousarray(IMAGE[::2]))
        assert (outputs['labels'][0].height, outputs['labels'][0].width) == (32, 128)
        assert not any(rear.outputs(one).values())
        assert front.set(tau=0.9).successful  # for both
        assert front.spin_until(lambda: len(front.outputs(one)['labels']) > 1)
        assert rear.spin_until(lambda: len(rear.outputs(two)['labels']) > 1)
        for camera in ('front', 'rear'):
            assert front.diagnostics(f'diffcut: {camera}')[2]['published'] != '0'


def test_the_recipe_for_two_cameras(start_node, connect, tmp_path):
    """As docs/recipes.md has it: all images of cameras as large as usual arrive."""
    recipe = RECIPES.read_text().partition('## Two cameras, one parameter file')[2].partition('\n## ')[0]
    (tmp_path / 'params.yaml').write_text(re.search(r'```yaml\n(.*?)```', recipe, re.DOTALL).group(1))
    command = re.search(r'```\n(ros2 run .*?)```', recipe, re.DOTALL).group(1).replace('\\\n', ' ').split()
    options = command[command.index('--ros-args') + 1 :]
    options[options.index('params.yaml')] = str(tmp_path / 'params.yaml')
    domain = free_domain()
    with start_node(domain, *options) as node, connect(domain, topics=()) as peer:
        node.wait_for_log('waiting for images on /robot/front/image_raw, /robot/rear/image_raw')
        for camera in ('front', 'rear'):
            topic = f'/diffcut/{camera}/labels'
            peer.subscribe_to(topic)
            images = peer.publisher(Image, f'/robot/{camera}/image_raw')
            assert peer.spin_until(lambda images=images: images.get_subscription_count() > 0)
            for second in range(10):
                image = encode_image(np.zeros((480, 640, 3), np.uint8), 'rgb8', Header())
                image.header.stamp.sec = 1 + second
                images.publish(image)
                peer.spin_until(lambda: False, 0.1)
            _, _, values = peer.diagnostics(f'diffcut: {camera}', told=lambda _, values: int(values['received']) >= 9)
            assert values['delivery'] == f'/robot/{camera}/image_raw: reliable'
            assert peer.spin_until(lambda topic=topic: peer.received[topic])


def test_a_fast_camera_does_not_starve_a_slow_one(start_node, connect):
    domain = free_domain()
    options = ['-p', 'cameras:=[fast, slow]', '-p', 'rate_hz:=0.0']
    for camera in ('fast', 'slow'):
        options += ['-p', RELIABLE.format(f'/{camera}/image')]
    with (
        start_node(domain, *options),
        connect(domain, 'one', camera='fast') as fast,
        connect(domain, 'two', camera='slow') as slow,
    ):
        fast.segment(IMAGE)
        slow.segment(IMAGE)
        waiting = [slow.header() for _ in range(5)]
        for header in waiting:
            slow.publish(encode_image(IMAGE, 'rgb8', header))

            def served(header=header) -> bool:
                fast.publish(encode_image(IMAGE, 'rgb8', fast.header()))
                fast.spin_until(lambda: False, 0.02)
                return bool(slow.outputs(header)['labels'])

            assert slow.spin_until(served)


@pytest.mark.parametrize('kind', ['jpg', 'png'])
def test_compressed_images(start_node, connect, kind):
    domain = free_domain()
    options = ('-p', 'image_transport:=compressed', '-p', RELIABLE.format('/image/compressed'))
    with start_node(domain, *options) as node, connect(domain) as peer:
        data = cv2.imencode(f'.{kind}', IMAGE[:, :, ::-1])[1].tobytes()
        message = CompressedImage(header=peer.header(), format=f'rgb8; {kind} compressed bgr8', data=data)
        _, outputs = peer.exchange(message)
        assert len(outputs['segments'][0].detections) == 4
        broken = CompressedImage(header=peer.header(), format='jpeg', data=data[: len(data) // 2])
        peer.publish(broken)
        assert peer.spin_until(lambda: '/image/compressed: image ignored: ' in node.log)
        message.header = peer.header()
        peer.exchange(message)
        assert not any(peer.outputs(broken.header).values())


def test_the_camera_is_listened_to_only_while_someone_listens(start_node, connect):
    domain = free_domain()
    with start_node(domain) as node, connect(domain, topics=()) as peer:
        node.wait_for_log('waiting for images')
        assert peer.diagnostics()[:2] == (b'\x00', 'idle: nobody subscribes')
        peer.spin_until(lambda: False, 1.0)
        assert not peer.camera_is_subscribed
        peer.subscribe('labels')
        header, _ = peer.segment(IMAGE)
        assert not peer.received['overlay']
        # Late, and still told: label_info is latched.
        peer.subscribe('label_info')
        assert peer.spin_until(lambda: peer.outputs(header)['label_info'])
        peer.unsubscribe()
        assert peer.spin_until(lambda: not peer.camera_is_subscribed)
        assert peer.set(lazy=False).successful
        assert peer.spin_until(lambda: peer.camera_is_subscribed)
        assert peer.set(lazy=True).successful
        assert peer.spin_until(lambda: not peer.camera_is_subscribed)


def depth_of(header, height, width, encoding='16UC1'):
    depth = encode_image(np.full((height, width), 1500, np.uint16), 'mono16', header)
    depth.encoding = encoding
    return depth


@pytest.mark.parametrize(
    ('info_wh', 'depth', 'problem'),
    [
        ((128, 64), (64, 128), ''),
        ((64, 32), (32, 64), ''),  # the same aspect
        ((128, 96), (64, 128), ''),  # another aspect costs positions alone: test_space.py
        ((0, 0), (64, 128), ''),  # not said: the image's
        ((128, 64), (64, 64), 'depth of 64 x 64 for an image of 128 x 64: expected the same aspect'),
        ((128, 64), (64, 128, '8UC1'), "depth: encoding: expected one of 16UC1, .*received '8UC1'"),
    ],
)
def test_depth_and_camera_info_are_joined_and_checked(with_depth, info_wh, depth, problem):
    node, peer = with_depth
    logged = len(node.log)
    header = peer.header()

    def send(header, info_wh, depth):
        k = [100.0, 0.0, 64.0, 0.0, 100.0, 32.0, 0.0, 0.0, 1.0]
        peer.camera_info.publish(CameraInfo(header=header, width=info_wh[0], height=info_wh[1], k=k))
        peer.depth.publish(depth_of(header, *depth))
        peer.publish(encode_image(IMAGE, 'rgb8', header))

    def errors():
        return [line for line in node.log[logged:].splitlines() if 'image ignored' in line]

    send(header, info_wh, depth)
    if problem:
        assert peer.spin_until(errors)
        assert re.search(problem, errors()[0])
        good = peer.header()
        send(good, (128, 64), (64, 128))
        assert peer.spin_until(lambda: all(peer.outputs(good).values()))
        assert not any(peer.outputs(header).values())
    else:
        assert peer.spin_until(lambda: all(peer.outputs(header).values()))
    if info_wh == (64, 32):
        node.wait_for_log('/image: camera_info is for 64x32, images have 128x64: K is scaled by 2 (wrong if images are')


@pytest.fixture(scope='module')
def with_depth(start_node, connect):
    domain = free_domain()
    options = ['-p', 'depth:=true', '-p', 'rate_hz:=0.0']
    for topic in ('camera_info', 'depth'):
        options += ['-p', RELIABLE.format(f'/{topic}')]
    with start_node(domain, *options) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()
        yield node, peer


def test_an_image_without_its_depth_waits(with_depth):
    _, peer = with_depth
    header = peer.header()
    peer.publish(encode_image(IMAGE, 'rgb8', header))
    peer.spin_until(lambda: False, 1.0)
    assert not any(peer.outputs(header).values())


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        (('-p', 'cameras:=[front, front]'), 'cameras: expected at least one name, and none twice, received'),
        (('-p', 'cameras:=front'), "parameter cameras: expected a list of strings, received 'front'"),
        (('-p', 'image_transport:=theora'), 'parameter image_transport: expected one of raw, compressed'),
    ],
)
def test_bad_settings(start_node, options, problem):
    with start_node(free_domain(), *options) as node:
        assert node.wait() == 2
        assert problem in node.log


def test_images_beyond_the_limit_are_refused(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'max_image_megapixels:=0.01') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.publish(encode_image(np.zeros((100, 200, 3), np.uint8), 'rgb8', peer.header()))
        assert peer.spin_until(lambda: 'expected at most 0.01 megapixels, received 0.02' in node.log)
        peer.segment(IMAGE)
        _, _, values = peer.diagnostics(level=b'\x00')  # it goes on
        assert values['rejected'] == '1'
