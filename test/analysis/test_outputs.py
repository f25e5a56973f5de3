"""What an analysis leaves, read back field by field and compared with the recording and the library."""

import json
import re
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest

from diffcut_ros.analysis.main import main
from diffcut_ros.core import SegmenterConfig
from diffcut_ros.core.segmenter import Segmenter
from diffcut_ros.features import create_extractor
from diffcut_ros.media.overlay import draw_overlay, track_colors
from diffcut_ros.recordings.bag import open_bag
from diffcut_ros.recordings.message_types import STORE
from support.recordings import (
    DEPTH,
    FRAME_ID,
    IMAGE,
    INFO,
    START_NS,
    STEP_NS,
    Recorder,
    depth_mm,
    image_message,
    moving_scene,
    record,
)

FRAMES = 6
STAMPS = [START_NS + index * STEP_NS for index in range(FRAMES)]
# Type hashes of the released vision_msgs 4.1, by which readers know the types.
HASHES = {
    'vision_msgs/msg/Detection2DArray': 'RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
    'vision_msgs/msg/Detection3DArray': 'RIHS01_793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018',
    'vision_msgs/msg/LabelInfo': 'RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
}


def read_bag(path) -> dict[str, list[tuple[int, object]]]:
    """Return time and message of each message by topic."""
    with open_bag(path) as bag:
        found = {topic: [] for topic in bag.topics}
        for message in bag.messages(set(bag.topics)):
            found[message.topic].append((message.time_ns, STORE.deserialize_cdr(message.cdr, message.type_name)))
        assert not bag.lost
    return found


def analyse(*arguments, status: int = 0) -> None:
    """Run the command in this process."""
    assert main([str(argument) for argument in arguments]) == status


def expected_segmentations(count: int = FRAMES, **config) -> list:
    """Return what the library makes of the film."""
    segmenter = Segmenter(create_extractor('color', 'cpu'), SegmenterConfig(**config))
    return [segmenter.segment(moving_scene(i), START_NS + i * STEP_NS) for i in range(count)]


@pytest.fixture(scope='module')
def analysed(run, tmp_path_factory):
    """A recording with depth and its analysis: PNG labels, CSV."""
    folder = tmp_path_factory.mktemp('analysed')
    run(record(folder / 'film', FRAMES), '-o', folder / 'out', '--csv')
    return folder


def test_only_outputs_are_left(analysed):
    assert {path.name for path in (analysed / 'out').iterdir()} == {
        *('segments.mcap', 'frames.csv', 'segments.csv', 'hierarchies.csv', 'problems.csv'),
        *('overlay.mp4', 'report.html', 'run.json'),
    }


def test_topics_types_and_stamps(analysed):
    found = read_bag(analysed / 'out/segments.mcap')
    assert {topic: [time for time, _ in messages] for topic, messages in found.items()} == dict.fromkeys(
        ('/diffcut/label_info', '/diffcut/labels/compressed', '/diffcut/segments', '/diffcut/segments_3d'), STAMPS
    )
    for messages in found.values():
        for stamp_ns, message in messages:
            stamp = message.header.stamp
            assert (stamp.sec * 10**9 + stamp.nanosec, message.header.frame_id) == (stamp_ns, FRAME_ID)


def test_types_are_those_of_the_released_package():
    for name, expected in HASHES.items():
        assert STORE.hash_rihs01(name) == expected


def test_label_images(analysed):
    found = read_bag(analysed / 'out/segments.mcap')['/diffcut/labels/compressed']
    for (_, message), expected in zip(found, expected_segmentations(), strict=True):
        assert message.format == 'mono8; png compressed '
        assert np.array_equal(cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED), expected.labels)


def test_detections(analysed):
    found = read_bag(analysed / 'out/segments.mcap')
    everything = zip(*(found[f'/diffcut/{t}'] for t in ('segments', 'segments_3d', 'label_info')), strict=True)
    for ((_, flat), (_, space), (_, info)), expected in zip(everything, expected_segmentations(), strict=True):
        assert [v.class_id for v in info.class_map] == [0, *(s.label for s in expected.segments)]
        assert [v.class_name for v in info.class_map][:2] == ['none', 'segment 1']
        assert len(expected.segments) >= 3
        assert [d.id for d in flat.detections] == [str(s.track_id) for s in expected.segments]
        for detection, segment in zip(flat.detections, expected.segments, strict=True):
            x0, y0, x1, y1 = segment.box_xyxy
            center = detection.bbox.center.position
            assert (center.x, center.y) == ((x0 + x1) / 2, (y0 + y1) / 2)
            assert (detection.bbox.size_x, detection.bbox.size_y) == (x1 - x0, y1 - y0)
            hypothesis = detection.results[0].hypothesis
            assert (hypothesis.class_id, hypothesis.score) == (str(segment.label), segment.score)
        by_id = {d.id: d for d in flat.detections}
        assert space.detections
        for detection in space.detections:
            position = detection.results[0].pose.pose.position
            assert position == by_id[detection.id].results[0].pose.pose.position
            assert 1.0 <= position.z <= 2.1
            assert abs(detection.bbox.center.position.z - position.z) <= detection.bbox.size.z
            assert detection.results[0].pose.pose.orientation.w == 1.0


def test_tables(analysed, rows):
    frames, segments = rows(analysed / 'out/frames.csv'), rows(analysed / 'out/segments.csv')
    assert [int(row['stamp_ns']) for row in frames] == STAMPS
    expected = expected_segmentations()
    assert [int(row['segments']) for row in frames] == [len(e.segments) for e in expected]
    for row in frames:
        assert 1 < float(row['latency_ms']) < 60_000  # not seconds
        size_and_more = row['tau'], row['images_left_out'], row['width_px'], row['height_px']
        assert size_and_more == ('0.5', '0', '64', '48')
        assert float(row['depth_share']) == np.mean(depth_mm(0) > 0)
    flat = [(stamp, segment) for stamp, e in zip(STAMPS, expected, strict=True) for segment in e.segments]
    for row, (stamp_ns, segment) in zip(segments, flat, strict=True):
        assert int(row['stamp_ns']) == stamp_ns
        assert (int(row['track_id']), int(row['label'])) == (segment.track_id, segment.label)
        assert int(row['area_px']) == segment.area_px
        assert tuple(int(row[f'box_{corner}_px']) for corner in ('x0', 'y0', 'x1', 'y1')) == segment.box_xyxy
        assert (float(row['centroid_x_px']), float(row['centroid_y_px'])) == segment.centroid_xy
        assert float(row['score']) == segment.score
    assert any(float(row['valid_share']) == 1 for row in segments)
    for row in segments:
        low, at, high = (float(row[f'{name}_z_m']) for name in ('box_min', 'position', 'box_max'))
        assert 1.0 <= low <= at <= high <= 2.1
    assert rows(analysed / 'out/problems.csv') == []


def test_run_says_what_was_analysed(analysed):
    about = json.loads((analysed / 'out/run.json').read_text())
    assert (about['frames'], about['images'], about['problems'], about['lost']) == (FRAMES, FRAMES, 0, '')
    assert about['topics'] == {'image': IMAGE, 'camera_info': INFO, 'depth': DEPTH}
    assert about['settings']['node']['depth'] is True  # unlike the node, it takes depth without being told to
    assert about['settings']['segmenter']['tau'] == 0.5
    assert about['versions']['numpy'] == np.__version__


def test_raw_labels_with_source(tmp_path):
    film = record(tmp_path / 'film', 3)
    analyse(film, '-o', tmp_path / 'out', '--csv', '--raw-labels', '--with-source', '--tau', 0.3)
    found, source = read_bag(tmp_path / 'out/segments.mcap'), read_bag(film)
    for topic in (IMAGE, INFO, DEPTH):
        assert [time for time, _ in found[topic]] == STAMPS[:3]
        for (_, copy), (_, original) in zip(found[topic], source[topic], strict=True):
            assert STORE.serialize_cdr(copy, copy.__msgtype__) == STORE.serialize_cdr(original, original.__msgtype__)
    assert '/diffcut/labels/compressed' not in found
    for (_, labels), expected in zip(found['/diffcut/labels'], expected_segmentations(3, tau=0.3), strict=True):
        assert (labels.encoding, labels.height, labels.width, labels.step) == ('mono8', 48, 64, 64)
        assert np.array_equal(labels.data.reshape(48, 64), expected.labels)


def test_source_of_ros_1(tmp_path):
    film = record(tmp_path / 'film.bag', 2)
    analyse(film, '-o', tmp_path / 'out', '--csv', '--with-source')
    found = read_bag(tmp_path / 'out/segments.mcap')
    assert [time for time, _ in found[IMAGE]] == [time for time, _ in found['/diffcut/segments_3d']] == STAMPS[:2]
    for index, ((_, image), (_, depth), (_, info)) in enumerate(
        zip(found[IMAGE], found[DEPTH], found[INFO], strict=True)
    ):
        assert (image.header.frame_id, image.encoding, image.step) == (FRAME_ID, 'rgb8', 192)
        assert np.array_equal(image.data.reshape(48, 64, 3), moving_scene(index))
        assert np.array_equal(depth.data.view('<u2').reshape(48, 64), depth_mm(index))
        assert (info.k[0], info.p[6], info.distortion_model) == (60, 23.5, 'plumb_bob')


def test_labels_by_track(tmp_path):
    film = record(tmp_path / 'film', 3, depth=False)
    parameters = tmp_path / 'parameters.yaml'
    parameters.write_text('/**:\n  ros__parameters: {labels: track, min_segment_area: 20}\n')
    analyse(film, '-o', tmp_path / 'out', '--csv', '--raw-labels', '--params', parameters)
    found = read_bag(tmp_path / 'out/segments.mcap')
    assert '/diffcut/segments_3d' not in found
    for (_, labels), expected in zip(
        found['/diffcut/labels'], expected_segmentations(3, min_segment_area=20), strict=True
    ):
        assert labels.encoding == 'mono16'
        by_track = np.array([0, *(s.track_id for s in expected.segments)])[expected.labels]
        assert np.array_equal(labels.data.view('<u2').reshape(48, 64), by_track)


def test_parquet(tmp_path, rows):
    parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed: Parquet cannot be written')
    film = record(tmp_path / 'film', 3)
    analyse(film, '-o', tmp_path / 'csv', '--csv')
    analyse(film, '-o', tmp_path / 'parquet')
    for name in ('frames', 'segments', 'problems'):
        table = parquet.read_table(tmp_path / f'parquet/{name}.parquet')
        texts = rows(tmp_path / f'csv/{name}.csv')
        assert table.num_rows == len(texts)
        for column in set(table.column_names) - {'latency_ms'}:
            values = ['' if value is None else str(value) for value in table[column].to_pylist()]
            assert values == [row[column] for row in texts]
        assert all(field.metadata[b'meaning'] for field in table.schema)


def test_images_left_out_are_counted(tmp_path, rows):
    with Recorder(tmp_path / 'film') as recorder:
        for index in range(6):
            recorder.write_frame(index, depth=index not in (2, 3))
    analyse(tmp_path / 'film', '-o', tmp_path / 'out', '--csv')
    frames = rows(tmp_path / 'out/frames.csv')
    assert [int(row['stamp_ns']) for row in frames] == [STAMPS[index] for index in (0, 1, 4, 5)]
    assert [row['images_left_out'] for row in frames] == ['0', '0', '2', '0']


def test_what_is_read_is_told_at_the_start(tmp_path, run):
    """On stderr, which is no terminal here; not of an analysis that is complete."""
    film, out = record(tmp_path / 'film', 3), tmp_path / 'out'
    arguments = film, '-o', out, '--csv', '--no-video', '--no-report'
    said, told = run(*arguments)
    assert told == f'reading {film}: 3 messages of {IMAGE} with {INFO} and {DEPTH}\n'
    assert said.count('\n') == 1
    assert run(*arguments, '--resume')[1] == ''
    other = record(tmp_path / 'other', 1)
    assert run(film, other, '-o', tmp_path / 'both', *arguments[3:])[1].splitlines()[0] == (
        'analysing 2 recordings, 1 at a time'
    )


def test_progress_without_a_terminal_is_a_line_now_and_then(tmp_path, capsys, monkeypatch):
    film = record(tmp_path / 'film', 3, depth=False)
    reading = f'reading {film}: 3 messages of {IMAGE}\n'
    arguments = film, '-o', tmp_path / 'out', '--csv', '--no-video', '--no-report', '--overwrite'
    monkeypatch.setattr('diffcut_ros.progress.LINE_S', 1000)
    analyse(*arguments)
    assert capsys.readouterr().err == reading
    monkeypatch.setattr('diffcut_ros.progress.LINE_S', 0)
    analyse(*arguments)
    lines = capsys.readouterr().err.removeprefix(reading).splitlines()
    patterns = [
        rf'film +{share}% {count} images, [\d.]+ per s [-:\d]+ left'
        for count, share in ((0, 0), (1, 0), (1, 50), (2, 50), (2, 100), (3, 100), (3, 100))
    ]
    assert len(lines) == len(patterns)
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(patterns, lines, strict=True)), lines


@pytest.mark.parametrize(('package', 'option'), [('pyarrow', '--csv'), ('av', '--no-video'), ('plotly', '--no-report')])
def test_without_an_optional_package(tmp_path, package, option):
    film = record(tmp_path / 'film', 2)
    program = (
        f"import sys; sys.modules['{package}'] = None\nfrom diffcut_ros.analysis.main import main; sys.exit(main())"
    )
    command = [sys.executable, '-c', program, str(film), '-o', str(tmp_path / 'out')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert f"expected the package {package}, found none. Next: pip install 'diffcut_ros[analyze]'" in done.stderr
    assert done.stderr.endswith(f': pip install {package}, or take {option}\n')
    assert not (tmp_path / 'out').exists()
    assert subprocess.run([*command, option], timeout=300).returncode == 0


def read_video(path) -> list[tuple[int, np.ndarray]]:
    """Return time in ms and picture of each frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ('h264', 'yuv420p')
        return [(round(1000 * frame.time), frame.to_ndarray(format='rgb24')) for frame in container.decode(stream)]


def test_video_shows_the_overlays_of_the_node_when_their_stamps_say(analysed):
    frames = read_video(analysed / 'out/overlay.mp4')
    assert [time for time, _ in frames] == [(stamp - STAMPS[0]) // 10**6 for stamp in STAMPS]
    for index, ((_, picture), expected) in enumerate(zip(frames, expected_segmentations(), strict=True)):
        overlay = draw_overlay(moving_scene(index), expected.labels, track_colors(expected.segments))
        # Colours have half the resolution: near borders they mix.
        inside = cv2.erode(cv2.inRange(cv2.Laplacian(overlay, cv2.CV_32F).max(2), 0, 0), np.ones((5, 5)))
        assert inside.mean() > 50
        assert np.abs(picture.astype(int) - overlay)[inside > 0].mean() < 4


def test_video_of_a_camera_that_changes_its_mode(tmp_path):
    with Recorder(tmp_path / 'film') as recorder:
        for index, scale in enumerate((1, 1, 2, 2)):
            image = moving_scene(index).repeat(scale, 0).repeat(scale, 1)[:, : 32 * scale]
            recorder.write(IMAGE, image_message(image, 'rgb8', STAMPS[index]))
        recorder.write(IMAGE, image_message(moving_scene(4)[:24], 'rgb8', STAMPS[4]))
    analyse(tmp_path / 'film', '-o', tmp_path / 'out', '--csv')
    frames = read_video(tmp_path / 'out/overlay.mp4')
    assert [picture.shape for _, picture in frames] == [(48, 32, 3)] * 5
    # The same scene at twice the size fills the picture, one that is wider has black bars above and below.
    assert all(picture[:4].mean() > 40 for _, picture in frames[:4])
    assert frames[4][1][:16].max() < 20
    assert frames[4][1][20:28].mean() > 40
