import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffcut_ros.benchmarks import objects
from diffcut_ros.core.objects import ObjectMap
from support.rgbd import write_recording

KITCHEN = Path(__file__).parents[3] / 'shared' / 'data' / 'rgbd_kitchen'
THINGS = Path(__file__).parents[1] / 'data' / 'kitchen_things.csv'
COMMAND = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'objects']


def test_agreement_of_objects_with_things():
    # Five points of the first thing are in object 7; of the second, two are in 7, two in 8, and two in none.
    thing = np.array([0] * 5 + [1] * 6)
    found = objects.agree(thing, np.array([7] * 5 + [7, 7, 8, 8, 0, 0]))
    # In one object: 21 pairs in 7 and one in 8, of which 10 + 1 + 1 are of one thing; of one thing: 10 and 15 pairs.
    assert found == objects.Agreement(12 / 22, 12 / 25, 0, 2, 2)
    assert objects.agree(thing, thing + 1) == objects.Agreement(1.0, 1.0, 2, 2, 0)


def test_points_without_an_object_are_alone():
    found = objects.agree(np.zeros(3, int), np.zeros(3, int))
    assert np.isnan(found.precision)
    assert (found.recall, found.one_to_one, found.without) == (0.0, 0, 3)


def test_a_thing_and_its_object_may_have_few_strays():
    # Four of five points are in the thing's object, which holds one of another thing.
    assert objects.agree(np.array([4] * 5 + [5]), np.array([7, 7, 7, 7, 8, 7])).one_to_one == 1
    assert objects.agree(np.array([4] * 5 + [5] * 2), np.array([7, 7, 7, 7, 8, 7, 7])).one_to_one == 0


def test_points_belong_to_the_object_of_the_nearest_voxel():
    voxels = np.array([[0.0, 0, 0], [1.0, 0, 0]])
    found = ObjectMap((), voxels, np.zeros((2, 3), np.uint8), np.array([4, 9]), np.array([0, 1]))
    points = np.array([[0.04, 0, 0], [0.95, 0, 0], [0.5, 0, 0], [np.nan, 0, 0]])
    assert objects.owners(points, found, 0.1).tolist() == [4, 9, 0, 0]


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('', 'received no row'),
        ('frame,x,y\n0,1,1\n', 'received frame, x, y'),
        ('frame,x,y,thing\n0,1,a,wall\n', 'expected whole numbers'),
        ('frame,x,y,thing\n0,1,1,wall\n0,96,1,wall\n', 'line 3: expected a point in 96 x 64, received 96, 1'),
    ],
)
def test_a_bad_file_of_things_is_refused(tmp_path: Path, text: str, problem: str):
    (tmp_path / 'things.csv').write_text(text)
    with pytest.raises(ValueError, match=problem):
        objects.read_things(tmp_path / 'things.csv', (64, 96))


def test_each_quadrant_of_a_wall_is_one_object(tmp_path: Path):
    write_recording(tmp_path / 'wall', 6)
    # Middles of the four quadrants in the first frame and in the last one, 5 pixels further.
    rows = [f'{frame},{x},{y},{x > 48}{y > 32}\n' for frame in (0, 5) for x in (24, 72) for y in (16, 48)]
    (tmp_path / 'things.csv').write_text('frame,x,y,thing\n' + ''.join(rows))
    command = [*COMMAND, str(tmp_path / 'wall'), '--things', str(tmp_path / 'things.csv')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {'COLUMNS': '200'})
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith('│ objects'))
    cells = [cell.strip() for cell in row.strip('│').split('│')]
    # What comes into view at the side is two more.
    assert cells == ['objects', '6', '6', '0', '1.000', '1.000', '4 of 4', '0']


def test_things_of_other_frames_are_refused(tmp_path: Path):
    write_recording(tmp_path / 'wall', 3)
    (tmp_path / 'things.csv').write_text('frame,x,y,thing\n7,1,1,wall\n')
    command = [*COMMAND, str(tmp_path / 'wall'), '--things', str(tmp_path / 'things.csv')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert 'received frame 7' in done.stderr


@pytest.mark.skipif(not KITCHEN.is_dir(), reason='kitchen frames are research-only and not distributed')
def test_the_kitchen_points_are_in_its_frames():
    things = objects.read_things(THINGS, (480, 640))
    assert all((KITCHEN / f'frame-{frame:06d}.color.jpg').is_file() for frame in set(things.frame.tolist()))
    assert len(things.names) == 31
