"""The page beside a real node: its file, and its images."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request

import numpy as np
from sensor_msgs.msg import Image

from diffcut_ros.core import Pipeline, Scene
from diffcut_ros.features import create_extractor
from diffcut_ros.features.probe import probe
from diffcut_ros.node.images import encode_image
from diffcut_ros.teach.frames import frame_of
from diffcut_ros.teach.lesson import Lesson
from support.domain import free_domain
from support.scenes import quadrants

IMAGE = quadrants(192, 256)[0]


def test_the_node_calls_things_as_the_page_does(start_node, connect, tmp_path):
    extractor = create_extractor('color')
    frame = frame_of(Pipeline(extractor).process(Scene(IMAGE)), 'film', '/image')
    lesson = Lesson(tmp_path / 'names.yaml', extractor.description, probe(extractor), (frame,))
    lesson.teach(0, 40, 40, None, 'floor')
    lesson.teach(0, 200, 40, None, '<b>person</b>')
    ids = np.append(0, lesson.state()['answers'][0]['class'])[frame.labels]
    domain = free_domain()
    arguments = ('-p', 'rate_hz:=0.0', '-p', f'classes_file:={lesson.path}')
    with start_node(domain, *arguments) as process, connect(domain, topics=('class_info', 'classes')) as peer:
        process.wait_for_log('waiting for images on /image')
        peer.publish(encode_image(IMAGE, 'rgb8', peer.header()))
        assert peer.spin_until(lambda: peer.received['classes'] and peer.received['class_info'])
        names = {one.class_id: one.class_name for one in peer.received['class_info'][-1].class_map}
        assert names == {0: 'unknown', 1: 'floor', 2: '<b>person</b>'}
        published = np.frombuffer(bytes(peer.received['classes'][-1].data), np.uint8).reshape(IMAGE.shape[:2])
        assert np.array_equal(published, ids)


def test_one_of_several_cameras_is_asked_for_and_shown(start_node, connect, tmp_path):
    domain = free_domain()
    environment = os.environ | {'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    program = 'import sys; from diffcut_ros.commands import teach; sys.exit(teach())'
    command = [sys.executable, '-c', program, '--node', '/diffcut', '--seconds', '3']
    command += ['--classes', str(tmp_path / 'names.yaml')]
    with (
        start_node(domain, '-p', 'cameras:=[front, rear]', '-r', 'rear/image:=/rear_camera/image_raw') as process,
        connect(domain, topics=()) as peer,
    ):
        process.wait_for_log('waiting for images')
        for choice in ([], ['--camera', 'left']):
            done = subprocess.run([*command, *choice], env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 2
            first, last = done.stderr.splitlines()
            assert first.startswith('diffcut_teach: collecting images of /diffcut for 3 s, once')
            assert last == 'diffcut_teach: /diffcut has cameras front, rear: --camera front'
        images = peer.publisher(Image, '/rear_camera/image_raw')
        with subprocess.Popen(
            [*command, '--camera', 'rear'], env=environment, stdout=subprocess.PIPE, text=True
        ) as page:
            try:
                printed: list[str] = []
                reader = threading.Thread(target=lambda: printed.append(page.stdout.readline()))
                reader.start()
                while reader.is_alive():
                    images.publish(encode_image(IMAGE, 'rgb8', peer.header()))
                    peer.spin_until(lambda: False, 0.1)
                with urllib.request.urlopen(f'{printed[0].split()[1]}state') as answer:
                    assert json.load(answer)['frames'] > 1
            finally:
                page.send_signal(signal.SIGINT)
                assert page.wait(60) == 0


def test_the_page_shows_what_the_node_sees(start_node, connect, tmp_path):
    """With the node's parameters; nobody else wants anything of it."""
    domain = free_domain()
    names = tmp_path / 'names.yaml'
    program = ('-m', 'diffcut_ros.teach.main', '--node', '/diffcut', '--seconds', '3', '--classes', str(names))
    environment = {'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    with (
        start_node(domain, '-p', 'tau:=0.3', '-p', 'color.cells:=16') as process,
        connect(domain, topics=()) as peer,
    ):
        process.wait_for_log('waiting for images on /image')
        command = [sys.executable, *program]
        with subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True) as page:
            try:
                stop = threading.Event()
                printed: list[str] = []
                threading.Thread(target=lambda: (printed.append(page.stdout.readline()), stop.set())).start()
                while not stop.is_set():
                    peer.send(encode_image(IMAGE, 'rgb8', peer.header()))
                    peer.spin_until(lambda: False, 0.1)
                address = printed[0].split()[1]
                with urllib.request.urlopen(f'{address}state') as answer:
                    state = json.load(answer)
                with urllib.request.urlopen(f'{address}frame/0') as answer:
                    frame = json.load(answer)
            finally:
                page.send_signal(signal.SIGINT)
                assert page.wait(60) == 0
    assert state['frames'] > 1
    assert state['title'] == '/diffcut'
    assert frame['tau'] == 0.3
    assert frame['whole'] == [256, 192]
