import csv
import json
import os

import numpy as np
import pytest

from diffcut_ros.evaluation.evaluator import ImageResult
from diffcut_ros.evaluation.matching import ClassCounts
from diffcut_ros.evaluation.metrics import Agreement, BoundaryCounts
from diffcut_ros.evaluation.protocols import Score
from diffcut_ros.evaluation.results import IMAGES, RESULTS, SETTINGS, TABLE, ResultsFolder
from diffcut_ros.evaluation.totals import Totals

ABOUT = {'settings': {'tau': 0.5, 'options': {'cells': 32}}, 'versions': {'numpy': '2.0'}}


def counts(*values: list[int]) -> ClassCounts:
    return ClassCounts(*(np.array(column) for column in values))


ONE = ImageResult('one', 3, Score(counts([6, 0], [2, 0], [2, 0])), 0.5, 1.0, False, 'abc')
TWO = ImageResult('two', 5, Score(counts([2, 1], [0, 1], [0, 4]), Agreement(0.5, 0.7, 2.0)), 0.1, 3.0, True, 'abc')
THREE = ImageResult('three', 4, Score(None, Agreement(0.7, 0.9, 1.0), BoundaryCounts(10, 5, 8, 6)), 0.0, 2.0, False, '')


def folder(path, about=ABOUT, resume=False) -> ResultsFolder:
    return ResultsFolder(path, about, resume)


def names(path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


def test_totals_by_hand():
    totals = Totals(('a', 'b'))
    assert totals.headline() == 'mIoU'
    for result in (ONE, TWO):
        totals.add(result)
    summary = totals.summary()
    # a: 8 of 12; b: 1 of 6. Accuracy 9 of 15 labelled pixels.
    assert summary['classes']['a'] == {
        'iou': pytest.approx(8 / 12), 'true_positive': 8, 'false_positive': 2, 'false_negative': 2
    }  # fmt: skip
    assert summary['mean_iou'] == pytest.approx((8 / 12 + 1 / 6) / 2)
    assert summary['pixel_accuracy'] == pytest.approx(9 / 15)
    assert summary['covering'] == 0.5  # of the one image that it is known of
    assert summary['segments_per_image'] == 4
    assert summary['method_s'] == {'median': 2.0, 'mean': 2.0}
    assert summary['features_s'] == {'median': 0.5}  # of those that were computed
    assert (summary['images'], summary['features_stored']) == (2, 1)
    assert 'boundary' not in summary
    assert totals.headline() == 'mIoU 0.417'


def test_totals_without_classes():
    totals = Totals(())
    for _ in range(2):
        totals.add(THREE)
    summary = totals.summary()
    assert summary['boundary']['precision'] == 0.5
    assert summary['boundary']['drawn'] == 16
    assert 'mean_iou' not in summary
    assert totals.headline() == 'covering 0.700'


def test_a_class_that_does_not_occur_is_none():
    totals = Totals(('a', 'b'))
    totals.add(ONE)
    assert totals.summary()['classes']['b']['iou'] is None
    assert totals.summary()['mean_iou'] == pytest.approx(0.6)


def test_files(tmp_path):
    with folder(tmp_path / 'new/results') as results:
        assert results.done == {}
        for result in (TWO, ONE):
            results.add(result)
        results.finish({'mean_iou': 0.4}, ['one', 'two'])
    path = tmp_path / 'new/results'
    assert names(path) == {SETTINGS, IMAGES, TABLE, RESULTS}
    assert json.loads((path / RESULTS).read_text()) == {'mean_iou': 0.4} | ABOUT
    with (path / TABLE).open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['image'] for row in rows] == ['one', 'two']
    assert float(rows[0]['mean_iou']) == pytest.approx(6 / 10)
    assert [row['covering'] for row in rows] == ['', '0.5']
    assert rows[1]['features_stored'] == 'True'


def test_results_are_read_as_they_were_written(tmp_path):
    with folder(tmp_path) as results:
        for result in (ONE, TWO, THREE):
            # As of one model: results of several are refused.
            results.add(ImageResult(**vars(result) | {'fingerprint': 'abc'}))
    with folder(tmp_path, resume=True) as results:
        assert list(results.done) == ['one', 'two', 'three']
        assert results.done['three'].score == THREE.score
        assert results.done['one'].score.classes.true_positive.tolist() == [6, 0]
        assert (results.done['two'].method_s, results.done['two'].stored) == (3.0, True)


@pytest.mark.parametrize('cut', [1, 20])
def test_a_line_that_was_not_written_to_its_end_is_cut_off(tmp_path, cut):
    with folder(tmp_path) as results:
        results.add(ONE)
        results.add(TWO)
    path = tmp_path / IMAGES
    path.write_bytes(path.read_bytes()[:-cut])
    with folder(tmp_path, resume=True) as results:
        assert list(results.done) == ['one']
        results.add(TWO)
    with folder(tmp_path, resume=True) as results:
        assert list(results.done) == ['one', 'two']


def test_damage_in_the_middle_is_an_error(tmp_path):
    with folder(tmp_path) as results:
        results.add(ONE)
    path = tmp_path / IMAGES
    before = b'{"image":\n' + path.read_bytes()
    path.write_bytes(before)
    with pytest.raises(ValueError, match=r'images.jsonl: expected a result per line, it is damaged'):
        folder(tmp_path, resume=True)
    assert path.read_bytes() == before


def test_other_settings_are_refused(tmp_path):
    with folder(tmp_path) as results:
        results.add(ONE)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = {'settings': {'tau': 0.7, 'options': {'cells': 32}}, 'versions': {}}
    for resume in (False, True):
        with pytest.raises(
            ValueError, match=r'other settings, take another folder: settings.tau 0.5 there, 0.7 here; ver'
        ):
            folder(tmp_path, other, resume)
    with pytest.raises(ValueError, match=r'holds results with these settings, unfinished: --resume goes on'):
        folder(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_complete_evaluation_is_not_begun_again(tmp_path):
    with folder(tmp_path) as results:
        results.add(ONE)
        results.finish({}, ['one'])
    with pytest.raises(ValueError, match=r'with these settings, complete'):
        folder(tmp_path)


def test_without_a_single_result_anything_may_begin(tmp_path):
    with folder(tmp_path):
        pass
    other = {'settings': {'tau': 0.7}}
    with folder(tmp_path, other) as results:
        assert json.loads((results.path / SETTINGS).read_text()) == other


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / 'thesis.tex').write_text('...')
    with pytest.raises(ValueError, match='expected a new or empty folder, or results to --resume, received other'):
        folder(tmp_path)
    assert names(tmp_path) == {'thesis.tex'}
    with pytest.raises(ValueError, match=r'thesis.tex: expected a folder, received a file'):
        folder(tmp_path / 'thesis.tex')


def test_two_evaluations_do_not_write_into_one_folder(tmp_path):
    with folder(tmp_path), pytest.raises(ValueError, match='another evaluation is writing into this folder'):
        folder(tmp_path)


def test_features_of_another_model_are_refused(tmp_path):
    with folder(tmp_path) as results:
        results.add(ONE)
        with pytest.raises(ValueError, match='expected features of the same model as before to resume'):
            results.add(ImageResult(**vars(TWO) | {'fingerprint': 'xyz'}))


@pytest.mark.parametrize('name', [SETTINGS, IMAGES, TABLE, RESULTS, f'.{SETTINGS}.writing', f'.{RESULTS}.writing'])
@pytest.mark.parametrize('kind', ['link', 'pipe'])
def test_links_and_pipes_are_refused(tmp_path, name, kind):
    out, notes = tmp_path / 'out', tmp_path / 'notes'
    out.mkdir()
    notes.write_text('mine')
    (out / SETTINGS).write_text('{}')
    (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(notes) if kind == 'link' else os.mkfifo(out / name)
    with pytest.raises(ValueError, match=f'{name}: expected a plain file or folder, received a'):
        folder(out, resume=True)
    assert notes.read_text() == 'mine'


@pytest.mark.parametrize('text', ['[]', '3', '[' * 100_000, '{"settings": ' + '{"a": ' * 3000 + '1' + '}' * 3001])
def test_settings_and_results_of_others(tmp_path, text):
    with folder(tmp_path / 'out') as results:
        results.add(ONE)
    (tmp_path / 'out' / SETTINGS).write_text(text)
    with pytest.raises(ValueError, match=r'settings.json: expected settings of an evaluation, it is damaged'):
        folder(tmp_path / 'out', resume=True)
    (tmp_path / 'out' / IMAGES).write_text(f'{text}\n')
    with pytest.raises(ValueError, match=r'images.jsonl: expected a result per line, it is damaged'):
        folder(tmp_path / 'out', resume=True)
