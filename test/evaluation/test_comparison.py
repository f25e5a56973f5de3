"""`diffcut_evaluate methods`, on small data sets in the layouts of the real ones."""

import csv
from pathlib import Path

import numpy as np
import pytest

from diffcut_ros.evaluation import comparison
from diffcut_ros.evaluation.evaluate import main
from diffcut_ros.evaluation.methods import METHODS
from diffcut_ros.evaluation.settings import resolve
from support.datasets import write_dataset

_FEW = {
    'diffcut': {'tau': (0.9, 0.5, 0.0)},
    'maskcut': {'objects': (3,), 'tau': (0.15, 0.4)},
    'felzenszwalb': {'scale': (100,), 'min_size': (1, 100_000)},
    'slic_ncut': {'threshold': (0.001,)},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Features of a test are its own, and no line of progress comes on a slow machine."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr('diffcut_ros.progress.LINE_S', 10_000)


def run(*arguments) -> int:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as ended:  # a wrong command line
        return ended.code


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_all_methods_on_two_data_sets(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, 'GRIDS', {**comparison.GRIDS, **_FEW})
    for name in ('bsds500', 'camvid'):
        write_dataset(name, tmp_path / 'data' / name)
    out = tmp_path / 'out' / 'methods'
    # Few cells, as some methods need seconds for many.
    arguments = ('methods', tmp_path / 'data', '-o', tmp_path / 'out', '--set', 'color.cells=12')
    assert run(*arguments) == 0
    printed, errors = capsys.readouterr()
    assert errors == ''
    found = {(row['dataset'], row['method']): row for row in rows(out / 'methods.csv')}
    assert list(found) == [(dataset, method) for dataset in ('camvid', 'bsds500') for method in METHODS]
    for (dataset, method), row in found.items():
        assert f'│ {dataset}' in printed
        if method == 'diffseg':
            assert 'expected a Stable Diffusion checkpoint' in row['note']
            assert row['covering'] == ''
            continue
        (timed,) = (rows(path) for path in (out / dataset / method).glob('**/time/images.csv'))
        medians = [
            np.median([float(one[name]) for one in timed if one[name]] or 0) for name in ('features_s', 'method_s')
        ]
        assert float(row['ms_per_image']) == pytest.approx(1000 * sum(medians), rel=0.01)
        settings = [path for path in (out / dataset / method).glob('*/images.csv') if path.parent.name != 'time']
        assert int(row['settings']) == len(settings) == len(comparison.settings_of(method))
        coverings = [[float(image['covering']) for image in rows(path)] for path in settings]
        if dataset == 'bsds500':
            assert float(row['covering']) == pytest.approx(max(sum(values) / 2 for values in coverings))
        if len(settings) > 1:
            best = [max(values) for values in zip(*coverings, strict=True)]
            assert float(row['covering_best_per_image']) == pytest.approx(sum(best) / 2)
    # Four flat quadrants: two people, of whom the second one drew halves, so (1 + 1/2) / 2; and four classes.
    assert float(found['bsds500', 'diffcut']['covering']) == pytest.approx(0.75, abs=0.03)
    assert found['bsds500', 'diffcut']['best'] != 'tau 0.0'
    assert float(found['camvid', 'diffcut']['mean_iou']) > 0.9
    assert found['camvid', 'felzenszwalb']['best'] == 'scale 100, min_size 1'
    page = (out / 'methods.html').read_text()
    assert all(setting in page for setting in ('tau 0.9', 'objects 3, tau 0.15', 'min_size 100000'))
    # Again, it is all there, times included.
    before = (out / 'methods.csv').read_text()
    assert run(*arguments) == 0
    assert (out / 'methods.csv').read_text() == before


def test_grids_are_settings_that_methods_take(tmp_path):
    assert comparison.GRIDS.keys() == METHODS.keys()
    for method in METHODS:
        tried = comparison.settings_of(method)
        backend = 'sd1.4' if METHODS[method].needs == 'attention' else 'color'
        options = [
            resolve('bsds500', tmp_path, method=method, options=options, backend=backend).options for options in tried
        ]
        assert len(set(options)) == len(tried) >= 1


def test_a_folder_without_data_sets(tmp_path, capsys):
    assert run('methods', tmp_path, '-o', tmp_path / 'out') == 2
    assert 'bsds500 in it, found none of them' in capsys.readouterr().err


def test_an_option_that_is_for_one_method(tmp_path, capsys):
    assert run('methods', tmp_path, '--tau', '0.5', '-o', tmp_path / 'out') == 2
    assert '--tau: expected none' in capsys.readouterr().err


def test_another_split(tmp_path, monkeypatch, capsys):
    """Of the data sets that have it; of others, the note says which they have."""
    monkeypatch.setattr(comparison, 'METHODS', {'kmeans': METHODS['kmeans']})
    root = tmp_path / 'data'
    write_dataset('bsds500', root / 'bsds500', count=1)
    write_dataset('ade20k', root / 'ade20k', count=1)
    for kind, ending in (('images', 'jpg'), ('groundTruth', 'mat')):
        (root / 'bsds500' / kind / 'test').mkdir(exist_ok=True)
        for path in (root / 'bsds500' / kind / 'val').glob(f'*.{ending}'):
            path.rename(root / 'bsds500' / kind / 'test' / path.name)
    assert run('methods', root, '--split', 'test', '-o', tmp_path / 'out', '--device', 'cpu') == 0
    lines = {line['dataset']: line for line in rows(tmp_path / 'out/methods/methods.csv')}
    bsds = lines['bsds500']
    assert (bsds['settings'], bsds['note']) == ('1', 'is told the number of segments that people drew')
    assert lines['ade20k']['note'] == "split: expected one of validation, training, received 'test'"
