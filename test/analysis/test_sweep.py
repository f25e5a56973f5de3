import json

import numpy as np
import pytest

from diffcut_ros.analysis import analyze
from diffcut_ros.analysis.hierarchies import Hierarchy, read_hierarchies
from diffcut_ros.analysis.main import main
from diffcut_ros.analysis.sweep import sweep_rows
from diffcut_ros.arguments.analyze import parse_sweep
from diffcut_ros.core import SegmenterConfig
from diffcut_ros.core.frame import Frame
from diffcut_ros.features import create_extractor
from support.recordings import START_NS, STEP_NS, moving_scene, record

FRAMES = 4
SWEEP = 'tau=0.3:0.9:0.2'


def hierarchy(order, begins, begins_tau) -> Hierarchy:
    return Hierarchy((2, 2), 0.9, np.array(order), np.array(begins, int), np.array(begins_tau, float))


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('tau=0.2:0.4:0.1', (0.2, 0.3, 0.4)),
        ('tau=.2:.35:0.1', (0.2, 0.3)),
        ('tau=0.5:0.5:1', (0.5,)),
        ('tau=0.05:1:0.05', tuple(round(0.05 * i, 9) for i in range(1, 21))),
    ],
)
def test_values_of_a_sweep(text, expected):
    assert parse_sweep(text) == expected


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('alpha=1:2:1', 'expected tau=FIRST:LAST:STEP .*such as.* received alpha=1:2:1'),
        ('tau=0.2:0.9', 'received tau=0.2:0.9'),
        ('tau=0.9:0.2:0.1', '0 < FIRST <= LAST <= 1'),
        ('tau=0:0.9:0.1', '0 < FIRST'),
        ('tau=0.2:1.1:0.1', 'LAST <= 1'),
        ('tau=0.2:0.9:0', 'STEP > 0'),
        ('tau=0.2:0.9:0.001', 'at most 200 values, received 701'),
    ],
)
def test_not_a_sweep(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_sweep(text)


def test_statistics_by_hand():
    # At 0.2 both are undivided; at 0.5 the first is {0, 1}, {2, 3}; at 0.8 it falls into single cells.
    first = hierarchy([0, 1, 2, 3], [1, 2, 3], [0.6, 0.4, 0.7])
    second = hierarchy([3, 2, 1, 0], [1, 2], [0.6, 0.4])  # at 0.5 the same as the first; at 0.8 {0, 1}, {2}, {3}
    rows = sweep_rows([first, second], (0.2, 0.5, 0.8))
    assert [row[:5] for row in rows] == [
        (0.2, 1.0, 1.0, 1.0, 1.0),
        (0.5, 2.0, 2.0, 2.0, 2.0),
        (0.8, 3.5, pytest.approx(3.05), 3.5, pytest.approx(3.95)),
    ]
    assert [row[5] for row in rows] == [1.0, 1.0, 0.0]
    # Pairs of {0, 1}, {2, 3} and {0, 1}, {2}, {3}: (1 - 2 / 6) / (3 / 2 - 2 / 6) = 4 / 7; with single cells it is 0.
    assert [row[6] for row in rows] == [None, 0.0, pytest.approx(2 / 7)]


def test_images_of_different_grids_are_not_compared():
    other = Hierarchy((1, 2), 0.9, np.arange(2), np.array([1]), np.array([0.1]))
    assert [row[5] for row in sweep_rows([hierarchy([0, 1, 2, 3], [], []), other], (0.5,))] == [None]


def test_beyond_the_hierarchy():
    with pytest.raises(ValueError, match=r'tau: expected at most 0\.9, how far .* received 0\.95'):
        sweep_rows([hierarchy([0, 1, 2, 3], [], [])], (0.95,))


@pytest.mark.parametrize('ending', ['.csv', '.parquet'])
def test_stored_hierarchies_give_the_librarys_cuts(tmp_path, ending):
    bag, out = record(tmp_path / 'film', FRAMES), tmp_path / 'out'
    more = ['--csv'] if ending == '.csv' else []
    assert main([str(bag), '-o', str(out), '--sweep', SWEEP, *more]) == 0
    stored = dict(read_hierarchies(out / f'hierarchies{ending}'))
    assert list(stored) == [START_NS + index * STEP_NS for index in range(FRAMES)]
    extractor = create_extractor('color', 'cpu')
    for index, found in enumerate(stored.values()):
        image = moving_scene(index)
        tree = Frame(image, extractor(image)).tree(SegmenterConfig.alpha, 0.9)
        assert found.tau == 0.9
        for tau in (0.0, 0.25, 0.5, 0.8, 0.9):
            assert np.array_equal(found.cut(tau), tree.cut(tau))


def test_a_deeper_hierarchy_changes_no_segments(tmp_path):
    bag = record(tmp_path / 'film', FRAMES)
    plain = [frame.segmentation for frame in analyze(bag)]
    for out, more in (('plain', ['--hierarchy-tau', '0']), ('deep', [])):
        assert main([str(bag), '-o', str(tmp_path / out), '--csv', *more]) == 0
    assert (tmp_path / 'plain/segments.csv').read_text() == (tmp_path / 'deep/segments.csv').read_text()
    assert len((tmp_path / 'plain/segments.csv').read_text().splitlines()) == 1 + sum(len(s.segments) for s in plain)


def test_how_far_hierarchies_go(tmp_path, rows):
    bag = record(tmp_path / 'film', 2)
    for name, more, tau in (
        ('default', [], '0.9'),
        ('needed', ['--hierarchy-tau', '0'], '0.5'),
        ('cut', ['--hierarchy-tau', '0.3', '--tau', '0.6'], '0.6'),
        ('sweep', ['--hierarchy-tau', '0.3', '--sweep', 'tau=0.2:0.7:0.1'], '0.7'),
        ('deeper', ['--hierarchy-tau', '0.95'], '0.95'),
    ):
        assert main([str(bag), '-o', str(tmp_path / name), '--csv', '--no-video', '--no-report', *more]) == 0
        assert {row['tau'] for row in rows(tmp_path / name / 'hierarchies.csv')} == {tau}


def test_sweep_of_a_complete_analysis(tmp_path, rows, capsys):
    bag, out = record(tmp_path / 'film', FRAMES), tmp_path / 'out'
    command = [str(bag), '-o', str(out), '--csv']
    assert main(command) == 0
    # As far as the report's slider goes.
    assert main([*command, '--sweep', SWEEP, '--resume']) == 0
    before = rows(out / 'sweep.csv')
    assert [row['tau'] for row in before] == ['0.3', '0.5', '0.7', '0.9']
    # Segments of the cut; those of the other tables are their connected parts.
    found = {(row['stamp_ns'], row['segment']) for row in rows(out / 'segments.csv')}
    assert float(before[1]['segments_mean']) == pytest.approx(len(found) / FRAMES)

    # From the stored hierarchies: nothing is segmented again.
    frames = (out / 'frames.csv').read_bytes()
    assert main([*command, '--sweep', 'tau=0.5:0.6:0.1', '--resume']) == 0
    after = rows(out / 'sweep.csv')
    assert [row['tau'] for row in after] == ['0.5', '0.6']
    assert {**after[0], 'stability_in_tau': ''} == {**before[1], 'stability_in_tau': ''}
    assert json.loads((out / 'run.json').read_text())['output']['sweep'] == [0.5, 0.6]
    assert (out / 'frames.csv').read_bytes() == frames

    assert main([*command, '--sweep', 'tau=0.5:1:0.1', '--resume']) == 2
    assert 'expected at most 0.9, how far the stored hierarchy goes, received 1' in capsys.readouterr().err
    assert rows(out / 'sweep.csv') == after
