"""The recipes of docs/recipes.md beside a running node: what they do, and that they show what is printed."""

import os
import re
import shlex
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import Point
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray, Detection3D, Detection3DArray, ObjectHypothesisWithPose

from diffcut_ros.analysis.tables import TABLES, write_table
from diffcut_ros.node.images import encode_image
from diffcut_ros.stream.stamps import stamp_ns
from support.checkout import ROOT
from support.domain import free_domain
from support.recordings import IMAGE, START_NS, STEP_NS, record
from support.scenes import quadrants
from support.waiting import PATIENCE_S

PAGE = (ROOT / 'docs/recipes.md').read_text()
SECTIONS = dict(re.findall(r'^## (.*?)\n(.*?)(?=^## |\Z)', PAGE, re.MULTILINE | re.DOTALL))
# Figures, such as stamps, differ from one run to the next.
FIGURES = re.compile(r'[\d.]+')


def blocks(title: str) -> list[str]:
    return re.findall(r'^```\w*\n(.*?)^```$', SECTIONS[title], re.MULTILINE | re.DOTALL)


def without_figures(text: str) -> str:
    return FIGURES.sub('#', text).strip()


def check_fields(shown, message) -> int:
    """Check that all that is shown of a message are fields of it, of its types; return how many values there are."""
    if isinstance(shown, dict):
        names = message.get_fields_and_field_types()
        assert set(shown) <= set(names)
        return sum(check_fields(value, getattr(message, name)) for name, value in shown.items())
    if isinstance(shown, list):
        return sum(check_fields(value, one) for value, one in zip(shown, message, strict=False))
    assert type(shown) is type(message)
    return 1


def test_every_recipe_with_code_shows_what_it_prints():
    counts = {title: len(blocks(title)) for title in SECTIONS}
    assert len(counts) >= 8
    assert [title for title, count in counts.items() if count == 1] == []


def test_the_thing_is_cut_out_of_its_image(running, capsys):
    _, peer, _ = running
    image = quadrants(192, 256)[0]
    _, outputs = peer.segment(image)
    labels = np.frombuffer(bytes(outputs['labels'][-1].data), np.uint8).reshape(192, 256)
    code, shown = blocks('Cut a tracked thing out of its image')
    (segments,) = outputs['segments'][-1:]
    names = {'np': np, 'image': image, 'labels': labels, 'segments': segments}
    exec(code, names)
    assert without_figures(capsys.readouterr().out) == without_figures(shown)
    (box,) = [one.bbox for one in segments.detections if one.id == '1']
    crop, mask = names['crop'], names['mask']
    assert crop.shape == (box.size_y, box.size_x, 3)
    assert mask.shape == crop.shape[:2]
    assert np.array_equal(crop[mask], image[labels == names['label']])


def test_a_click_is_answered_as_shown(start_node, connect):
    code, shown = blocks('The segment under a pixel')
    (x, y) = (float(value) for value in re.search(r'{x: ([\d.]+), y: ([\d.]+)}', code).groups())
    domain = free_domain()
    with start_node(domain) as node, connect(domain, topics=()) as peer:
        node.wait_for_log('waiting for images')
        click = peer.publisher(Point, '/diffcut/click', 10)
        peer.subscribe_to('/diffcut/clicked', Detection2DArray)  # `ros2 topic echo`
        image = encode_image(quadrants(480, 640)[0], 'rgb8', peer.header())
        peer.publish(image)  # waits until the node subscribes: the reason for the recipe's `sleep`
        deadline = time.monotonic() + 60
        while not peer.received['/diffcut/clicked'] and time.monotonic() < deadline:
            click.publish(Point(x=x, y=y))
            peer.spin_until(lambda: peer.received['/diffcut/clicked'], 1.0)
        answer = peer.received['/diffcut/clicked'][0]
    assert check_fields(yaml.safe_load(shown), answer) >= 10
    assert len(answer.detections) == 1
    box = answer.detections[0].bbox
    assert abs(box.center.position.x - x) <= box.size_x / 2
    assert abs(box.center.position.y - y) <= box.size_y / 2
    assert answer.detections[0].id


def test_two_cameras_with_one_parameter_file(start_node, connect, tmp_path):
    parameters, command, shown = blocks('Two cameras, one parameter file')
    (tmp_path / 'params.yaml').write_text(parameters)
    words = shlex.split(command.replace('\\\n', ' '))
    assert words[:4] == ['ros2', 'run', 'diffcut_ros', 'diffcut_node']
    given = [str(tmp_path / word) if word == 'params.yaml' else word for word in words[words.index('--ros-args') + 1 :]]
    domain = free_domain()
    with start_node(domain, *given) as node:
        node.wait_for_log('waiting for images')
        log = [line for line in node.log.splitlines() if 'waiting for images' in line]
        assert [without_figures(line) for line in log] == [without_figures(shown)]
        with connect(domain, camera='front', topics=('labels',)) as peer:
            topics = '/robot/front/image_raw', '/diffcut/front/labels'
            assert peer.spin_until(lambda: peer.subscription_infos(topics[0]) and peer.publisher_infos(topics[1]))
            (info,) = peer.subscription_infos(topics[0])
            assert info.qos_profile.reliability.name == 'RELIABLE'


def test_a_place_in_map_has_the_fields_that_are_shown():
    shown = yaml.safe_load(blocks('Positions in `map`')[-1])
    message = Detection3DArray()
    message.detections = [Detection3D(results=[ObjectHypothesisWithPose()])]
    assert check_fields(shown, message) >= 15
    assert shown['header']['frame_id'] == 'map'


@pytest.mark.parametrize('name', ['film', 'film.bag'])
def test_a_recording_is_played(start_node, connect, tmp_path, name):
    """All images come, with their stamps, and the node takes them; again where they have not met within the 2 s."""
    code, _, shown = blocks('Play a recording without `ros2`')
    (tmp_path / 'play.py').write_text(code)
    film = record(tmp_path / name, 6)
    domain = free_domain()
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    with (
        start_node(domain, '-r', f'image:={IMAGE}', '-p', 'rate_hz:=0.0') as node,
        connect(domain, topics=('labels',)) as peer,
    ):
        peer.remove_all()
        peer.subscribe_to(IMAGE, Image)
        node.wait_for_log('waiting for images')
        for _ in range(5):
            command = [sys.executable, str(tmp_path / 'play.py'), str(film), IMAGE]
            play = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
            assert play.returncode == 0, play.stderr
            assert without_figures(play.stdout) == without_figures(shown)
            peer.spin_until(lambda: peer.received['labels'] and len(peer.received[IMAGE]) >= 6, 5.0)
            images, labels = (list(map(stamp_ns, peer.received[topic])) for topic in (IMAGE, 'labels'))
            if labels and len(images) == 6:
                break
            for topic in (IMAGE, 'labels'):
                peer.received[topic].clear()
    assert play.stdout.startswith('6 messages in 0.')
    assert images == [START_NS + k * STEP_NS for k in range(6)]
    assert set(labels) <= set(images)


def test_tables_have_the_columns_that_are_used():
    """The recipe needs pandas, which is not a dependency."""
    code, shown = blocks('Tables of a recording in pandas')
    columns = {column.name for column in TABLES['segments']}
    used = set(re.findall(r"groupby\('(\w+)'\)|=\('(\w+)'", code))
    used = {name for pair in used for name in pair if name}
    assert used == {'track_id', 'stamp_ns', 'area_px'}
    assert used <= columns
    assert shown.splitlines()[0].split() == re.findall(r'(\w+)=\(', code)


def test_whole_numbers_stay_whole_in_pandas(tmp_path):
    """As the recipe says, of all that may be missing; skipped where pandas is not installed."""
    pandas = pytest.importorskip('pandas')
    row = [3 if column.type_name == 'int64' else None for column in TABLES['segments']]
    gap = [None if column.name == 'object_id' else value for column, value in zip(TABLES['segments'], row, strict=True)]
    write_table(tmp_path / 'segments.parquet', TABLES['segments'], [row, gap])
    write_table(tmp_path / 'segments.csv', TABLES['segments'], [row, gap])
    text = (ROOT / 'docs/recipes.md').read_text()
    assert "dtype_backend='pyarrow'" in text
    assert "segments.object_id.astype('Int64')" in text
    segments = pandas.read_parquet(tmp_path / 'segments.parquet')
    assert segments.object_id.dtype == 'float64'
    segments = pandas.read_parquet(tmp_path / 'segments.parquet', dtype_backend='pyarrow')
    assert str(segments.object_id.dtype) == 'int64[pyarrow]'
    assert segments.object_id.tolist()[0] == 3
    segments = pandas.read_csv(tmp_path / 'segments.csv')
    assert segments.object_id.dtype == 'float64'
    assert segments.object_id.astype('Int64').dtype == 'Int64'
