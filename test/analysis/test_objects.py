"""The map of objects of recordings: its table, its points, and when it cannot be had."""

import csv
import filecmp
import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pyarrow.parquet
import pytest
from scipy.spatial.transform import Rotation

from diffcut_ros.analysis.main import main
from diffcut_ros.analysis.run import analyze_to_folder
from diffcut_ros.analysis.settings import OutputOptions
from diffcut_ros.core.plain import pack, unpack
from support.recordings import FRAME_ID, START_NS, STEP_NS, Recorder, moving_scene, record
from support.taught import teach
from support.waiting import wait_for

from .test_target_frame import FRAMES, MOUNTED, WALLS, film, move, turning

OPTIONS = '--target-frame', 'map', '--no-video', '--no-report', '--objects'
DTYPES = {'float': '<f4', 'double': '<f8', 'uchar': 'u1', 'int': '<i4'}


def read_ply(path) -> tuple[np.ndarray, list[str]]:
    """Return the vertices of a binary PLY file, and the lines of its header."""
    header, _, data = path.read_bytes().partition(b'end_header\n')
    lines = header.decode('ascii').splitlines()
    assert lines[:2] == ['ply', 'format binary_little_endian 1.0']
    (count,) = (int(line.split()[2]) for line in lines if line.startswith('element vertex '))
    fields = [(line.split()[2], DTYPES[line.split()[1]]) for line in lines if line.startswith('property ')]
    assert len(data) == count * np.dtype(fields).itemsize
    return np.frombuffer(data, fields), lines


def analyse(*arguments, status: int = 0) -> None:
    """Run the command in this process."""
    assert main([str(argument) for argument in arguments]) == status


def test_every_thing_is_there_once(tmp_path, fast):
    """The camera turns to two walls, away, and back after a minute."""
    out = tmp_path / 'out'
    analyse(turning(tmp_path / 'film', (0, 1, 0), (0, 1, 60)), '-o', out, '--params', fast.params, *OPTIONS)
    table = pyarrow.parquet.read_table(out / 'objects.parquet')
    assert table.schema.metadata[b'frame_id'] == b'map'
    rows = {row['object_id']: row for row in table.to_pylist()}
    points, header = read_ply(out / 'objects.ply')
    assert points.dtype.names == ('x', 'y', 'z', 'red', 'green', 'blue', 'object_id')
    assert points.dtype['x'] == np.float32
    assert 'comment frame_id map' in header
    assert np.bincount(points['object_id']).tolist() == [
        rows.get(k, {'voxels': 0})['voxels'] for k in range(max(rows) + 1)
    ]
    color = np.stack([points[name] for name in ('red', 'green', 'blue')], 1)
    stamps = pyarrow.parquet.read_table(out / 'frames.parquet')['stamp_ns'].to_pylist()
    for wall, squares in enumerate(WALLS):
        for square in squares:
            owned = np.bincount(points['object_id'][(color == square).all(1)])
            assert owned.max() > 0.7 * owned.sum()  # cells are 5 pixels wide
            row = rows[int(owned.argmax())]
            assert (row['first_ns'], row['last_ns']) == (
                (stamps[0], stamps[8]) if wall == 0 else (stamps[3], stamps[5])
            )
            assert row['views'] == (6 if wall == 0 else 3)
            assert row['best_whole'] == 1
            assert row['best_ns'] in stamps
            assert row['in_one_piece'] == 1
            assert row['class'] is None
            assert row['confidence'] is None
            assert np.linalg.norm(row['feature']) == pytest.approx(1, abs=1e-5)
            mine = np.stack([points[axis][points['object_id'] == row['object_id']] for axis in 'xyz'], 1)
            assert np.median(mine, 0) == pytest.approx([row[f'position_{axis}_m'] for axis in 'xyz'], abs=1e-3)
    # The first square of the first wall: columns and rows 8 to 24, 2 m away, from a camera at (1, 2, 3).
    first = rows[int(np.bincount(points['object_id'][(color == WALLS[0][0]).all(1)]).argmax())]
    expected = (15.5 - 31.5) / 60 * 2 + 1, (15.5 - 23.5) / 60 * 2 + 2, 5
    assert [first[f'position_{axis}_m'] for axis in 'xyz'] == pytest.approx(expected, abs=0.05)
    assert [first[f'best_{side}_px'] for side in ('x0', 'y0', 'x1', 'y1')] == pytest.approx([8, 8, 24, 24], abs=2)
    # It lies flat, as z of this map is ahead of the camera.
    box_m = [first[f'box_{side}_m'] for side in ('length', 'width', 'height')]
    assert box_m == pytest.approx([16 / 30, 16 / 30, 0], abs=0.15)
    run = json.loads((out / 'run.json').read_text())
    about = run['map']
    assert run['objects'] == len(rows)
    assert (about['voxels'], about['images'], about['images_without_places']) == (len(points), 9, 0)
    assert about['voxels_of_no_object'] == 0
    assert about['tracks_in_objects'] == sum(len(row['track_ids']) for row in rows.values())
    # Each segment shows the object that its places belong to, and the square is the same one when it comes back.
    segments = pyarrow.parquet.read_table(out / 'segments.parquet').to_pylist()
    assert {row['object_id'] for row in segments} == set(rows)
    squares = [row for row in segments if np.allclose((row['centroid_x_px'], row['centroid_y_px']), 15.5, atol=2)]
    assert {row['stamp_ns'] for row in squares} == set(stamps)
    seen = {stamp: {row['object_id'] for row in squares if row['stamp_ns'] == stamp} for stamp in stamps}
    first_wall, second_wall = [*stamps[:3], *stamps[6:]], stamps[3:6]
    assert [seen[stamp] for stamp in first_wall] == [{first['object_id']}] * 6
    assert first['object_id'] not in set.union(*(seen[stamp] for stamp in second_wall))


def check_views(out) -> int:
    """Check that the table of objects tells of the segments that show them; return how many have no picture."""
    objects, segments = (rows_of(out / f'{name}.csv') for name in ('objects', 'segments'))
    frames = {row['stamp_ns']: row for row in rows_of(out / 'frames.csv')}
    for row in objects:
        own = [one for one in segments if one['object_id'] == row['object_id']]
        assert int(row['views']) == len(own)
        stamps = sorted(int(one['stamp_ns']) for one in own)
        assert (row['first_ns'], row['last_ns']) == (str(stamps[0]), str(stamps[-1])) if own else ('', '')
        if not row['picture']:
            assert not any(row[name] for name in row if name.startswith('best_'))
            assert not (out / f'objects/{row["object_id"]}.jpg').exists()
            continue
        assert row['picture'] == f'objects/{row["object_id"]}.jpg'
        sides = [f'{side}_px' for side in ('x0', 'y0', 'x1', 'y1')]
        shown = [
            one
            for one in own
            if one['stamp_ns'] == row['best_ns'] and all(one[f'box_{side}'] == row[f'best_{side}'] for side in sides)
        ]
        assert [one['area_px'] for one in shown] == [row['best_area_px']]
        x0, y0, x1, y1 = (int(row[f'best_{side}']) for side in sides)
        width, height = (int(frames[row['best_ns']][f'{side}_px']) for side in ('width', 'height'))
        assert row['best_whole'] == str(int(min(x0, y0) > 0 and x1 < width and y1 < height))
    pictures = [row['picture'] for row in objects if row['picture']]
    assert {f'objects/{path.name}' for path in (out / 'objects').iterdir()} == set(pictures)
    about = json.loads((out / 'run.json').read_text())['map']
    assert about['objects_without_segments'] == sum(row['views'] == '0' for row in objects)
    assert about['objects_without_picture'] == len(objects) - len(pictures)
    return len(objects) - len(pictures)


def rows_of(path) -> list[dict[str, str]]:
    """Return the rows of a table as CSV."""
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_the_report_counts_each_track_id_once(tmp_path, fast):
    """Also one that comes back after a minute."""
    out = tmp_path / 'out'
    bag = turning(tmp_path / 'film', (0, 1, 0), (0, 1, 60))
    analyse(bag, '-o', out, '--params', fast.params, '--target-frame', 'map', '--no-video')
    ids = {*pyarrow.parquet.read_table(out / 'segments.parquet')['track_id'].to_pylist()} - {0}
    page = (out / 'report.html').read_text()
    assert f'<dt>Tracks</dt><dd>{len(ids)}</dd><dd class="remark">different track ids</dd>' in page
    assert f'All {len(ids)}, by when they were first seen' in page


def test_without_being_asked_for_there_is_none(tmp_path, fast):
    out = tmp_path / 'out'
    analyse(film(tmp_path / 'film'), '-o', out, '--params', fast.params, *OPTIONS[:-1])
    assert not list(out.glob('objects*'))
    run = json.loads((out / 'run.json').read_text())
    assert run['objects'] is None
    assert 'map' not in run


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        (
            ('--objects',),
            '--objects: expected --target-frame, too, such as map, since things are put together by where',
        ),
        (('--objects', '--target-frame', 'mapp'), "there is no such frame in /tf; there are 'base_link'"),
        (
            ('--objects', '--target-frame', 'map', '--no-depth'),
            'expected camera_info and depth, since places are wanted',
        ),
    ],
)
@pytest.mark.parametrize('count', [1, 2])
def test_what_it_needs_is_named_before_anything_is_done(tmp_path, fast, capsys, options, problem, count):
    bags = [film(tmp_path / name) for name in ('one', 'two')[:count]]
    arguments = [*bags, '-o', tmp_path / 'out', '--params', fast.params, '--no-video', '--no-report', *options]
    analyse(*arguments, status=2)
    told = capsys.readouterr()
    assert problem in told.err + told.out
    if count == 1:
        assert len(told.err.strip().splitlines()) == 1
    assert not list((tmp_path / 'out').rglob('objects*'))


def test_the_frame_may_be_that_of_the_file(tmp_path):
    params = tmp_path / 'params.yaml'
    params.write_text('/**:\n  ros__parameters: {color: {cells: 10}, target_frame: map}\n')
    options = '--params', params, '--no-video', '--no-report', '--objects', '--csv'
    analyse(film(tmp_path / 'film'), '-o', tmp_path / 'out', *options)
    assert (tmp_path / 'out/objects.csv').read_text().count('\n') > 1


def test_images_without_a_transform_are_counted(tmp_path, fast, capsys, rows):
    """The robot's last pose is that of the third image; then of no image at all."""
    path, out = tmp_path / 'film', tmp_path / 'out'
    with Recorder(path) as recorder:
        recorder.write_transform(FRAME_ID, MOUNTED[0].as_quat(), MOUNTED[1], START_NS, parent='base_link', static=True)
        for index in range(FRAMES):
            if index < 4:
                move(recorder, index - 0.5)
            recorder.write_frame(index)
    analyse(path, '-o', out, '--params', fast.params, *OPTIONS, '--csv')
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert "objects: 3 of 6 images are not in it, since they have no places in 'map'" in line
    assert len(rows(out / 'objects.csv')) > 1
    stamps = [row['stamp_ns'] for row in rows(out / 'frames.csv')]
    assert {row['last_ns'] for row in rows(out / 'objects.csv')} <= set(stamps[:3])

    analyse(film(tmp_path / 'gap', static_at=None), '-o', tmp_path / 'none', '--params', fast.params, *OPTIONS)
    assert 'objects: 6 of 6 images are not in it' in capsys.readouterr().out
    assert pyarrow.parquet.read_table(tmp_path / 'none/objects.parquet').num_rows == 0
    assert len(read_ply(tmp_path / 'none/objects.ply')[0]) == 0


@pytest.mark.parametrize(('frame', 'moves'), [('base_link', True), (FRAME_ID, True), ('map', False)])
def test_a_frame_that_moves_with_the_camera_is_told(tmp_path, fast, capsys, frame, moves):
    """Six images, of which each is much like the one before: by images alone it would not show."""
    out = tmp_path / 'out'
    analyse(film(tmp_path / 'film'), '-o', out, '--params', fast.params, '--target-frame', frame, *OPTIONS[2:])
    text = f"objects: the target frame '{frame}' moves with the camera, so the map is of no use, as all things lie upon"
    assert (text in capsys.readouterr().out) == moves
    assert (text in json.loads((out / 'run.json').read_text())['warning']) == moves


def test_a_camera_at_rest_is_not_told_of(tmp_path, fast, capsys):
    with Recorder(tmp_path / 'film') as recorder:
        recorder.write_transform(FRAME_ID, MOUNTED[0].as_quat(), MOUNTED[1], START_NS, parent='map', static=True)
        for index in range(3):
            recorder.write_frame(index)
    analyse(tmp_path / 'film', '-o', tmp_path / 'out', '--params', fast.params, *OPTIONS)
    assert 'warning' not in capsys.readouterr().out


@pytest.mark.parametrize(('up', 'tilted'), [('z', False), ('-z', True), ('y', True)])
def test_gaps_and_a_frame_that_is_not_upright_are_told(tmp_path, fast, up, tilted):
    """Also when the images of before are gone through again, but not computed."""
    path, stamps_ns = tmp_path / 'film', [START_NS + index * 10**8 for index in range(75)]
    turned = {'z': (0, 0, 0), '-z': (180, 0, 0), 'y': (-90, 0, 0)}[up]
    turned = Rotation.from_euler('xyz', turned, degrees=True).as_quat()
    with Recorder(path) as recorder:
        recorder.write_transform(FRAME_ID, MOUNTED[0].as_quat(), MOUNTED[1], START_NS, parent='base_link', static=True)
        for index, stamp_ns in enumerate(stamps_ns):
            if not (5 < index < 16 or 30 < index < 35 or 60 < index < 66):
                recorder.write_transform('base_link', turned, [0.02 * index, 0, 0], stamp_ns)
            recorder.write_frame(index)
    out = tmp_path / 'out'

    def warning(out, options, **more) -> str:
        output = OutputOptions(video=False, report=False, objects=True)
        return analyze_to_folder(path, out, replace(fast, **options), output, **more).warning

    def interrupt(done) -> None:
        if done.frames > 70:
            raise KeyboardInterrupt

    whole = warning(out, {'target_frame': 'map'})
    assert '15 images lie in gaps of /tf of more than 0.5 s; their places are interpolated' in whole
    assert ("objects: z of 'map' does not seem to point up: boxes and the plan are tilted" in whole) == tilted
    with pytest.raises(KeyboardInterrupt):
        warning(tmp_path / 'again', {'target_frame': 'map'}, on_progress=interrupt)
    assert list((tmp_path / 'again/.unfinished').glob('part-*'))
    assert warning(tmp_path / 'again', {'target_frame': 'map'}, resume=True) == whole
    assert 'point up' not in warning(tmp_path / 'short', {'target_frame': 'camera_optical'})  # which moves with it


def test_gaps_in_which_nothing_moves_are_not_told(tmp_path, fast, capsys):
    path = tmp_path / 'film'
    with Recorder(path) as recorder:
        for index in (0, 9):
            recorder.write_transform(FRAME_ID, MOUNTED[0].as_quat(), MOUNTED[1], START_NS + index * STEP_NS)
        for index in range(10):
            recorder.write_frame(index)
    analyse(path, '-o', tmp_path / 'out', '--params', fast.params, *OPTIONS)
    assert 'warning' not in capsys.readouterr().out


def test_the_line_at_the_end_names_their_number(tmp_path, fast, capsys):
    bag, out = film(tmp_path / 'film'), tmp_path / 'out'
    options = '-o', out, '--params', fast.params, *OPTIONS
    analyse(bag, *options)
    count = pyarrow.parquet.read_table(out / 'objects.parquet').num_rows
    text = f'{bag}: {FRAMES} of {FRAMES} images segmented, {count} objects, outputs in {out}\n'
    assert capsys.readouterr().out == text
    analyse(bag, *options, '--resume')
    assert capsys.readouterr().out == text
    analyse(bag, *options[:-1], '--overwrite')
    assert 'images segmented, outputs in' in capsys.readouterr().out


def test_a_map_that_a_node_would_not_have_is_told(tmp_path, capsys):
    params = tmp_path / 'params.yaml'
    params.write_text('/**:\n  ros__parameters: {color: {cells: 10}, tracking: {max_remembered: 0}}\n')
    analyse(film(tmp_path / 'film'), '-o', tmp_path / 'out', '--params', params, *OPTIONS)
    assert 'objects: tracking.max_remembered is 0, with which a node has no map of objects' in capsys.readouterr().out
    assert pyarrow.parquet.read_table(tmp_path / 'out/objects.parquet').num_rows > 1


def test_its_bound_is_told(tmp_path, capsys):
    params = tmp_path / 'params.yaml'
    params.write_text('/**:\n  ros__parameters: {color: {cells: 10}, tracking: {voxel_m: 0.02, max_voxels: 1000}}\n')
    analyse(turning(tmp_path / 'film', (0, 1), (0, 1)), '-o', tmp_path / 'out', '--params', params, *OPTIONS)
    assert 'objects: tracking.max_voxels: 1000 are reached, ' in capsys.readouterr().out.strip().splitlines()[-1]
    assert 800 < len(read_ply(tmp_path / 'out/objects.ply')[0]) <= 1000


@pytest.fixture(scope='module')
def long(start, tmp_path_factory):
    """A film of 75 images with a robot that moves, an analysis in one go, and one that was killed after a part."""
    folder = tmp_path_factory.mktemp('long')
    with Recorder(folder / 'film') as recorder:
        recorder.write_transform(FRAME_ID, MOUNTED[0].as_quat(), MOUNTED[1], START_NS, parent='base_link', static=True)
        for index in range(75):
            recorder.write_transform('base_link', [0, 0, 0, 1], [0.02 * index, 0, 0], START_NS + index * 10**8)
            recorder.write_frame(index)
    (folder / 'fast.yaml').write_text('/**:\n  ros__parameters: {color: {cells: 10}}\n')
    analyse(*of(folder, 'whole'))
    process = start(*of(folder, 'killed'))
    wait_for((folder / 'killed/.unfinished/part-000000').exists, process)
    process.kill()
    process.communicate()
    assert not (folder / 'killed/objects.csv').exists()
    return folder


def of(folder, out, *more) -> tuple:
    return folder / 'film', '-o', folder / out, '--csv', '--params', folder / 'fast.yaml', *OPTIONS, *more


def test_what_is_killed_and_resumed_has_the_same_objects(long, capsys):
    kept = long / 'killed/.unfinished/part-000000/objects.npz'
    good = kept.read_bytes()
    for bad in (b'', pack({}), pack(unpack(good) | {'track_id': np.zeros(1, np.int64)})):
        kept.write_bytes(bad)
        analyse(*of(long, 'killed', '--resume'), status=2)
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert 'part-000000/objects.npz: expected things of this analysis' in line
    kept.unlink()
    analyse(*of(long, 'killed', '--resume'), status=2)
    kept.write_bytes(good)
    views = kept.with_name('views.npz')
    good = views.read_bytes()
    for bad in (b'', pack([])[:-9], pack([[1, 2]]), pack([['x', *unpack(good)[0][1:]]]), pack(7)):
        views.write_bytes(bad)
        analyse(*of(long, 'killed', '--resume'), status=2)
        assert 'part-000000/views.npz: expected pictures of this analysis' in capsys.readouterr().err
    views.write_bytes(good)
    places = kept.with_name('places.npz')
    good = places.read_bytes()
    fewer = unpack(good) | {'rows': unpack(good)['rows'] + 1}
    for bad in (b'', pack({}), pack(unpack(good) | {'rows': 1}), pack(7), pack(fewer)):
        places.write_bytes(bad)
        analyse(*of(long, 'killed', '--resume'), status=2)
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert 'part-000000/places.npz: expected places of this analysis' in line or 'expected values for' in line
    places.write_bytes(good)
    analyse(*of(long, 'killed', '--resume'))
    for name in (
        'segments.csv',
        'objects.csv',
        'objects.ply',
        *(f'objects/{path.name}' for path in (long / 'whole/objects').iterdir()),
    ):
        assert filecmp.cmp(long / 'whole' / name, long / 'killed' / name, shallow=False), name
    about = [json.loads((long / out / 'run.json').read_text())['map'] for out in ('whole', 'killed')]
    assert about[0] == about[1]
    assert about[0]['images'] == 75
    with (long / 'killed/segments.csv').open(newline='') as file:
        shown = [row['object_id'] for row in csv.DictReader(file)]
    assert len({*shown}) > 10
    assert {*map(int, shown)} <= set(read_ply(long / 'killed/objects.ply')[0]['object_id'].tolist())


def test_an_object_is_what_its_segments_show(long):
    """Whatever their track ids: some of these show several objects."""
    analyse(*of(long, 'views'))
    check_views(long / 'views')
    objects, segments = (rows_of(long / f'views/{name}.csv') for name in ('objects', 'segments'))
    of_track = {key: row['object_id'] for row in objects for key in json.loads(row['track_ids'])}
    others = [one for one in segments if of_track.get(int(one['track_id']), one['object_id']) != one['object_id']]
    assert len(others) > 20


def test_a_complete_analysis_without_them_is_another_one(long, capsys):
    arguments = [one for one in of(long, 'whole', '--resume') if one != '--objects']
    analyse(*arguments, status=2)
    assert 'another output.objects' in capsys.readouterr().err
    analyse(*of(long, 'whole', '--resume'))
    # What an older version wrote does not say that there are none.
    out = long / 'older'
    analyse(*[one for one in of(long, 'older', '--every', '30') if one != '--objects'])
    run = json.loads((out / 'run.json').read_text())
    del run['output']['objects'], run['objects']
    (out / 'run.json').write_text(json.dumps(run))
    analyse(*[one for one in of(long, 'older', '--every', '30', '--resume') if one != '--objects'])
    # Or says something else by the same word.
    (out / 'run.json').write_text(json.dumps(run | {'objects': {'objects': 3, 'tracks': 4}}))
    capsys.readouterr()
    analyse(*[one for one in of(long, 'older', '--every', '30', '--resume') if one != '--objects'], status=2)
    error = capsys.readouterr().err
    assert f'{out}: holds a complete analysis that cannot be read (objects: expected int | None, received' in error
    assert '--overwrite' in error


def test_each_has_a_picture_of_its_best_view(tmp_path, fast, rows):
    """Squares of one colour on a wall, which is 2 m away, and then 1 m, where they are seen whole as well."""
    out = tmp_path / 'out'
    analyse(turning(tmp_path / 'film', (0, 1, 0), (0, 1, 60)), '-o', out, '--params', fast.params, '--csv', *OPTIONS)
    found = rows(out / 'objects.csv')
    assert {row['picture'] for row in found} == {f'objects/{path.name}' for path in (out / 'objects').iterdir()}
    points, _ = read_ply(out / 'objects.ply')
    checked = 0
    for row in found:
        picture = cv2.imread(str(out / row['picture']))[:, :, ::-1].astype(int)
        width, height = (int(row[f'best_{axis}1_px']) - int(row[f'best_{axis}0_px']) for axis in 'xy')
        margin = round(0.15 * max(width, height)) + 2
        assert picture.shape[0] <= height + 2 * margin
        assert picture.shape[1] <= width + 2 * margin
        own = points['object_id'] == int(row['object_id'])
        color = np.median(np.stack([points[name][own] for name in ('red', 'green', 'blue')], 1), 0)
        if any(tuple(color) == square for wall in WALLS for square in wall):
            assert picture.shape[:2] == (height + 2 * margin, width + 2 * margin)  # inside the image
            middle = picture[margin + 4 : -margin - 4, margin + 4 : -margin - 4].reshape(-1, 3)
            assert np.abs(np.median(middle, 0) - color).max() < 12
            corner = picture[:2, :2].reshape(-1, 3)
            assert np.ptp(corner, axis=1).max() < np.ptp(color) / 2  # gray, but for what a JPEG file makes of it
            checked += 1
    assert checked >= 4


def test_pictures_of_others_stay(tmp_path, fast):
    out = tmp_path / 'out'
    analyse(film(tmp_path / 'film'), '-o', out, '--params', fast.params, *OPTIONS)
    for name in ('mine.jpg', '7.png'):
        (out / 'objects' / name).write_bytes(b'mine')
    analyse(film(tmp_path / 'again'), '-o', out, '--params', fast.params, *OPTIONS[:-1], '--overwrite')
    assert {path.name for path in (out / 'objects').iterdir()} == {'mine.jpg', '7.png'}
    shutil.rmtree(out / 'objects')
    (out / 'objects').symlink_to(tmp_path / 'film')
    analyse(film(tmp_path / 'third'), '-o', out, '--params', fast.params, *OPTIONS, '--overwrite', status=2)


def test_overwriting_removes_those_of_before(long):
    analyse(*of(long, 'again', '--every', '30'))
    assert {path.name for path in (long / 'again').glob('objects*')} == {'objects', 'objects.csv', 'objects.ply'}
    analyse(*[one for one in of(long, 'again', '--every', '30', '--overwrite') if one != '--objects'])
    assert not list((long / 'again').glob('objects*'))


def test_objects_of_several_recordings(tmp_path, fast):
    out = tmp_path / 'out'
    bags = [film(tmp_path / name) for name in ('one', 'two')]
    analyse(*bags, '-o', out, '--params', fast.params, *OPTIONS)
    table = pyarrow.parquet.read_table(out / 'objects.parquet')
    assert table.schema.metadata[b'frame_id'] == b'map'
    each = [pyarrow.parquet.read_table(out / name / 'objects.parquet').num_rows for name in ('one', 'two')]
    assert table['recording'].to_pylist() == ['one'] * each[0] + ['two'] * each[1]
    assert (out / 'one/objects.ply').exists()
    analyse(*bags, '-o', out, '--params', fast.params, *OPTIONS[:-1], '--overwrite')
    assert not list(out.rglob('objects*'))


def test_classes(tmp_path, fast, rows):
    points = {'ground': (32, 24), 'red': (10, 13), 'green': (52, 35)}
    teach(tmp_path / 'classes.npz', [moving_scene(index) for index in range(3)], points, cells=10)
    options = '--params', fast.params, *OPTIONS, '--csv', '--classes', tmp_path / 'classes.npz'
    analyse(film(tmp_path / 'film'), '-o', tmp_path / 'out', *options)
    found = rows(tmp_path / 'out/objects.csv')
    assert {'ground', 'red'} <= {row['class'] for row in found}
    for row in found:
        assert (float(row['confidence']) == 0) == (row['class'] == 'unknown')


def test_a_recording_without_tf_is_refused(tmp_path, fast, capsys):
    analyse(record(tmp_path / 'film'), '-o', tmp_path / 'out', '--params', fast.params, *OPTIONS, status=2)
    assert "target frame 'map': expected /tf, received none" in capsys.readouterr().err
