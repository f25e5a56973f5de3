"""Receivers that do with this node's outputs what Nav2, Hydra and nvblox do, and fail where they would fail.

Each follows the code of the consumer: which bytes it reads, which sizes it compares, what it does without checking.
"""

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from vision_msgs.msg import LabelInfo

from diffcut_ros.node.images import encode_image
from support.domain import free_domain
from support.scenes import quadrants
from support.taught import teach

SIZE_HW = (192, 256)
POINTS = {'floor': (40, 40), 'person': (200, 40), 'grass': (40, 160)}  # the fourth quadrant has no name
TOPICS = ('class_info', 'classes', 'confidence', 'instances', 'classes_color', 'mask', 'mask/camera_info', 'labels')


@pytest.fixture(scope='module')
def scene():
    """An image and what each of its pixels is: nothing, or 'border' within a cell's width of another quadrant."""
    image, quadrant = quadrants(*SIZE_HW)
    name = np.array(['floor', 'person', 'grass', ''], object)[quadrant]
    name[88:104] = name[:, 120:136] = 'border'
    return image, name


@pytest.fixture(scope='module')
def taught(tmp_path_factory, scene):
    path = tmp_path_factory.mktemp('classes') / 'scene.yaml'
    teach(path, [scene[0]], POINTS)
    return path


@pytest.fixture(scope='module')
def node(start_node, connect, taught):
    domain = free_domain()
    parameters = ('rate_hz:=0.0', f'classes_file:={taught}', 'mask_classes:=[person]', 'labels:=track')
    given = [argument for parameter in parameters for argument in ('-p', parameter)]
    with start_node(domain, *given) as process, connect(domain, topics=TOPICS) as peer:
        process.wait_for_log('waiting for images on /image')
        yield process, peer


@pytest.fixture(scope='module')
def received(node, scene):
    """The outputs of the scene, each once, by topic; camera_info comes first, as a driver sends it."""
    _, peer = node
    camera_info = CameraInfo(
        header=peer.header(), height=SIZE_HW[0], width=SIZE_HW[1], k=[100.0, 0, 64, 0, 100, 48, 0, 0, 1]
    )
    assert peer.spin_until(lambda: peer.camera_info.get_subscription_count() > 0)

    def publish(header):
        camera_info.header = header
        peer.camera_info.publish(camera_info)
        peer.publish(encode_image(scene[0], 'rgb8', header))

    peer._outputs.pop('class_info', None)  # it is told before the image, not with it
    _, outputs = peer._exchange(publish, peer.header())
    return {topic: messages[0] for topic, messages in outputs.items()} | {'class_info': peer.received['class_info'][0]}


def nav2_layer(
    classes: Image, confidence: Image, cloud_points: int, costs: dict[str, int], info: LabelInfo
) -> np.ndarray:
    """What semantic_segmentation_layer makes of one synced pair: the cost of each pixel, -1 where it has none."""
    assert info is not None, 'no LabelInfo before the first pair: a null pointer is used'
    pixels = classes.width * classes.height
    assert pixels == cloud_points
    assert len(classes.data) >= pixels
    by_name = {one.class_name: one.class_id & 0xFF for one in info.class_map}
    cost_of = {by_name[name]: cost for name, cost in costs.items() if name in by_name}
    # Pixel i is byte i, in both images, whatever encoding and step say.
    ids = np.frombuffer(bytes(classes.data), np.uint8)[:pixels]
    sure = np.frombuffer(bytes(confidence.data), np.uint8)
    assert len(sure) >= pixels, 'read out of bounds'
    assert (sure[ids == 0] == 0).all(), 'with confidence selection, an unlabelled pixel would block its cell'
    return np.array([cost_of.get(key, -1) for key in range(256)])[ids].reshape(classes.height, classes.width)


def hydra_instances(message: Image) -> tuple[np.ndarray, np.ndarray]:
    """What InstanceImageReceiver makes of an image: class and instance of each pixel."""
    assert message.encoding == '32SC1'
    values = np.frombuffer(bytes(message.data), '<i4').reshape(message.height, message.width)
    return values & 0xFFFF, (values >> 16).astype(np.int16)


def test_nav2_reads_a_cost_for_each_pixel(received, scene):
    image, name = scene
    costs = nav2_layer(
        received['classes'],
        received['confidence'],
        image[..., 0].size,
        {'floor': 0, 'grass': 254},
        received['class_info'],
    )
    assert (costs[name == 'floor'] == 0).all()
    assert (costs[name == 'grass'] == 254).all()
    assert (costs[name == 'person'] == -1).all()
    assert (costs[name == ''] == -1).all()


def test_the_names_are_there_before_any_image(start_node, connect, taught):
    domain = free_domain()
    with start_node(domain, '-p', f'classes_file:={taught}') as process:
        process.wait_for_log('waiting for images')
        with connect(domain, topics=('class_info',)) as late:
            assert late.spin_until(lambda: late.received['class_info'])
            info = late.received['class_info'][0]
    assert {one.class_id: one.class_name for one in info.class_map} == {
        0: 'unknown',
        1: 'floor',
        2: 'person',
        3: 'grass',
    }


def test_class_images_are_bytes_without_padding(received):
    for topic in ('classes', 'confidence', 'mask'):
        message = received[topic]
        assert (message.encoding, message.step, len(message.data)) == ('mono8', SIZE_HW[1], SIZE_HW[0] * SIZE_HW[1])


def test_hydra_reads_classes_and_instances(received, scene):
    _, name = scene
    classes, instances = hydra_instances(received['instances'])
    assert np.unique(classes[name == 'person']).tolist() == [2]
    assert (classes[name == ''] == 0).all()
    tracks = np.frombuffer(bytes(received['labels'].data), '<u2').reshape(SIZE_HW)
    assert np.array_equal(instances, tracks)
    assert [len(np.unique(instances[name == one])) for one in ('floor', 'person', 'grass', '')] == [1, 1, 1, 1]


def test_nvblox_gets_a_mask_with_its_camera(received, scene):
    _, name = scene
    mask, camera_info = received['mask'], received['mask/camera_info']
    assert mask.encoding == 'mono8'
    assert mask.header.stamp == camera_info.header.stamp == received['labels'].header.stamp
    assert (camera_info.width, camera_info.height) == (mask.width, mask.height)
    values = np.frombuffer(bytes(mask.data), np.uint8).reshape(SIZE_HW)
    clear = name != 'border'
    assert np.array_equal(values[clear], np.where(name == 'person', 255, 0)[clear])


def test_colors_are_those_of_the_file(received, scene, taught):
    from diffcut_ros.classes_file import read_classes

    classes = read_classes(taught).classes
    pixels = np.frombuffer(bytes(received['classes_color'].data), np.uint8).reshape(*SIZE_HW, 3)
    for name, (x, y) in POINTS.items():
        assert tuple(pixels[y, x]) == classes.classes[classes.id_of(name)].color
    assert not pixels[160, 200].any()


def test_a_mask_comes_with_every_image(node, scene):
    _, peer = node
    before = len(peer.received['mask'])
    blank = np.full((*SIZE_HW, 3), 90, np.uint8)
    for _ in range(3):
        peer.publish(encode_image(blank, 'rgb8', peer.header()))
        count = len(peer.received['mask'])
        assert peer.spin_until(lambda count=count: len(peer.received['mask']) > count)
    assert len(peer.received['mask']) >= before + 3
    assert not any(peer.received['mask'][-1].data)


def test_an_organised_cloud_has_the_pixels_of_the_image(start_node, connect, taught, scene):
    """Also where depth has another size: Nav2's layer wants as many points as pixels."""
    image, _ = scene
    domain = free_domain()
    arguments = ('depth:=true', 'points.organized:=true', f'classes_file:={taught}', 'rate_hz:=0.0')
    with (
        start_node(domain, *(one for name in arguments for one in ('-p', name))) as process,
        connect(domain, topics=('classes', 'confidence', 'points')) as peer,
    ):
        process.wait_for_log('waiting for images')
        peer.wait_until_met()
        depth = Image(encoding='32FC1', height=48, width=64, step=256, data=np.full((48, 64), 2, np.float32).tobytes())
        camera_info = CameraInfo(height=192, width=256, k=[200.0, 0, 128, 0, 200, 96, 0, 0, 1])
        header, outputs = peer.exchange_depth(image, depth, camera_info)
        (cloud,), (classes,), (confidence,) = (outputs[name] for name in ('points', 'classes', 'confidence'))
        assert isinstance(cloud, PointCloud2)
        assert (cloud.height, cloud.width) == SIZE_HW
        assert cloud.header == classes.header == confidence.header == header
        points = np.frombuffer(bytes(cloud.data), '<f4').reshape(*SIZE_HW, -1)
        y, x = np.mgrid[:192, :256]
        assert np.allclose(points[..., 2], 2)
        assert np.abs(points[..., 0] - (x - 128) / 200 * 2).max() < 0.03
        assert np.abs(points[..., 1] - (y - 96) / 200 * 2).max() < 0.03
