"""Tables of the paper on small data sets in the layouts of the real ones, with the color backend or random weights."""

import csv
import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from diffcut_ros.evaluation.datasets import DATASETS
from diffcut_ros.evaluation.evaluate import main
from diffcut_ros.evaluation.evaluator import Cache
from diffcut_ros.evaluation.methods import METHODS
from diffcut_ros.evaluation.settings import KINDS, read_options
from diffcut_ros.evaluation.tables import TABLES, Cell, Request, Row, Table, run_table
from diffcut_ros.evaluation.tables.measure import over_tau, over_timestep, tuned
from diffcut_ros.evaluation.tables.request import ANY
from support.checkpoints import save_sd1, save_sdxl
from support.datasets import paths, write_dataset

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Features of a test are its own, no model is on the machine, and no line of progress comes on a slow one."""
    monkeypatch.setattr('diffcut_ros.progress.LINE_S', 10_000)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path / 'hub'))


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A folder in which VOC is there, and the others are not."""
    folder = tmp_path_factory.mktemp('root')
    write_dataset('voc', folder / 'voc', count=2)
    return folder


def run(*arguments) -> int:
    try:
        return main([str(argument) for argument in (*arguments, '--device', 'cpu')])
    except SystemExit as ended:  # a wrong command line
        return ended.code


def cells(out: Path) -> dict[tuple[str, str], dict]:
    found = json.loads((out / 'table.json').read_text())['cells']
    return {(cell['row'], cell['dataset']): cell for cell in found}


def results(out: Path) -> dict:
    return json.loads((out / 'results.json').read_text())


def request(root: Path, out: Path, **changes) -> Request:
    """Return what is asked for from Python: as on the command line, with the color backend."""
    values = {'limit': 1, 'jobs': 1, 'backend': 'color', 'options': {}, 'device': 'cpu', 'tune': 1} | changes
    return Request(root, out, Cache(out.parent / 'features', 10**9), **values)


def measure(table: Table, asked: Request) -> bool:
    """Return whether anything was measured."""
    return run_table(table, asked)[0]


def test_published_figures():
    """Some of the paper's, by hand."""

    def published(table: str) -> dict:
        return {row.title: row.published for row in TABLES[table].rows}

    assert published('table1')['DiffCut + PAMR'] == {
        'voc': 65.2, 'context': 56.5, 'coco_object': 34.1, 'coco_stuff': 49.1, 'cityscapes': 30.6,
        'ade20k_as_published': 44.3,
    }  # fmt: skip
    assert published('table1')['ReCo']['ade20k_as_published'] == 11.2
    assert published('table1')['DiffSeg, as published'] == {'coco_stuff': 43.6, 'cityscapes': 21.2}
    assert published('table2')['AutoSC']['coco_object'] == 29.8
    assert published('table3') == {
        '32x32': {'voc': 62.0},
        '32x32 + 64x64': {'voc': 61.6},
        'encoder + decoder': {'voc': 60.9},
    }
    assert published('table6')['MaskCut k=20']['context'] == 43.5
    assert published('table7')['SSD-Vega + PAMR']['cityscapes'] == 30.1
    assert published('table8')['nearest'] == {'voc': 61.2}
    assert published('table9')['K=6'] == {'coco_stuff': 37.8, 'cityscapes': 21.0}
    assert published('table10')['tau 0.5']['coco_object'] == 32.0
    assert published('fig3')['SSD-1B'] == {'voc': 0.83}
    assert published('speed')['DiffSeg, SD 1.4'] == {ANY: 2.75}
    assert [row.refine for row in TABLES['table5'].rows] == ['none', 'pamr']


@pytest.mark.parametrize('name', list(TABLES))
def test_rows_are_what_methods_and_data_sets_know(name):
    names = [(row.title, dataset) for row in TABLES[name].rows for dataset in row.published]
    assert len(names) == len(set(names))
    for row in TABLES[name].rows:
        assert set(row.published) <= {*DATASETS, ANY}
        if row.method is not None:
            options = {name: text for name, text in row.options.items() if name.partition('.')[0] not in KINDS}
            assert read_options(METHODS[row.method].config, options)


def test_difference():
    assert Cell('DiffCut', 'voc', 62.0, 63.5).difference == pytest.approx(1.5)
    assert Cell('DiffCut', 'voc', 62.0, None).difference is None
    assert Cell('DiffCut', 'voc', None, 63.5).difference is None


def test_one_data_set_is_there(root, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run('table5', root, '-o', out, '--backend', 'color', '--limit', 1) == 0
    printed, errors = capsys.readouterr()
    assert errors == ''
    assert 'backend color in place of the paper' in ' '.join(printed.split())
    assert f'no data set: {root} has no folder ade20k\n' in printed
    assert run('voc', root / 'voc', '-o', tmp_path / 'own', '--refine', 'pamr', '--limit', 1) == 0
    own = 100 * results(tmp_path / 'own')['mean_iou']
    found = cells(out / 'table5')
    assert len(found) == 12
    assert found['DiffCut + PAMR', 'voc']['measured'] == pytest.approx(own)
    assert found['DiffCut + PAMR', 'voc']['difference'] == pytest.approx(own - 65.2)
    assert f'{own:.1f}' in printed
    assert f'{own - 65.2:+.1f}' in printed
    assert results(out / 'table5/diffcut_pamr/voc')['settings']['refine'] == 'pamr'
    for (row, dataset), cell in found.items():
        assert (cell['measured'] is not None, cell['images']) == ((True, 1) if dataset == 'voc' else (False, 0)), row
    with (out / 'table5/table.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['row'], row['dataset']) for row in rows] == list(found)
    assert float(rows[0]['measured']) == found['DiffCut', 'voc']['measured']
    assert (rows[1]['published'], rows[1]['measured'], rows[1]['note']) == (
        '54.1',
        '',
        f'no data set: {root} has no folder context',
    )


def test_published_rows_weights_and_data_that_are_not_there(root, tmp_path, capsys):
    """Nothing can be measured: still the published figures, and why."""
    out = tmp_path / 'out'
    assert run('table7', root, '-o', out) == 2
    printed, errors = capsys.readouterr()
    assert errors == 'diffcut_evaluate: nothing could be measured, the notes say why\n'
    assert 'segmind/Segmind-Vega is not on this machine, and downloads are not allowed' in printed
    assert 'in place of' not in printed
    assert cells(out / 'table7')['SD 1.4 + PAMR', 'cityscapes']['published'] == 24.5
    reco = Table('', TABLES['table1'].measure, TABLES['table1'].rows[:1])
    assert not measure(reco, request(root, out / 'reco'))
    assert {cell['note'] for cell in cells(out / 'reco').values()} == {'published figure only'}


def test_a_damaged_image_is_a_note(root, tmp_path):
    damaged = tmp_path / 'root'
    shutil.copytree(root, damaged)
    paths('voc', damaged / 'voc', 'b_2')[0].write_bytes(b'not an image')
    assert run('table8', damaged, '-o', tmp_path / 'out', '--backend', 'color') == 2
    note = cells(tmp_path / 'out/table8')['nearest', 'voc']['note']
    assert note.startswith('b_2: cannot read')


def test_goes_on_where_it_was_interrupted(root, tmp_path, capsys):
    arguments = ('table8', root, '-o', tmp_path / 'out', '--backend', 'color')
    assert run(*arguments) == 0
    table, evaluation = tmp_path / 'out/table8', tmp_path / 'out/table8/nearest/voc'
    whole, lines = (table / 'table.csv').read_bytes(), (evaluation / 'images.jsonl').read_bytes()
    # As after the first of two images of the last row.
    first = lines[: lines.index(b'\n') + 1]
    (evaluation / 'images.jsonl').write_bytes(first)
    (evaluation / 'results.json').unlink()
    done = tmp_path / 'out/table8/concept_assignment/voc/images.jsonl'
    before = done.read_bytes()
    assert run(*arguments) == 0
    assert (table / 'table.csv').read_bytes() == whole
    assert (evaluation / 'images.jsonl').read_bytes().startswith(first)
    assert done.read_bytes() == before
    capsys.readouterr()
    assert run(*arguments, '--limit', 1) == 2
    assert 'holds a table with other settings, take another -o: limit None there, 1 here' in capsys.readouterr().err
    assert (table / 'table.csv').read_bytes() == whole


def noisy(root: Path, name: str, split: str, seed: int) -> None:
    """Write one image of noise over four colours, so that tau matters."""
    write_dataset(name, root, count=1)
    image_path, labels_path = paths(name, root, 'a_1')
    image = np.array(Image.open(image_path)).astype(int)
    image += np.random.default_rng(seed).integers(-60, 61, (*image.shape[:2], 1))
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(image_path)
    if split != 'val':
        for path in (image_path, labels_path):
            other = Path(str(path).replace('/val/', f'/{split}/'))
            other.parent.mkdir(parents=True)
            path.rename(other)


def test_over_tau_is_as_one_evaluation_each(tmp_path):
    noisy(tmp_path / 'root/voc', 'voc', 'val', 0)
    taus = (0.05, 0.5, 0.8)
    row = Row('alpha 8', {'voc': None}, options={'alpha': '8'}, values=taus)
    found = over_tau(request(tmp_path / 'root', tmp_path / 'out'), row, 'voc')
    assert [cell.x for cell in found] == list(taus)
    for cell in found:
        own = tmp_path / f'own_{cell.x}'
        assert run('voc', tmp_path / 'root/voc', '-o', own, '--tau', cell.x, '--alpha', 8) == 0
        assert cell.measured == pytest.approx(100 * results(own)['mean_iou'])
        folder = tmp_path / f'out/alpha_8/voc/tau_{cell.x}'
        assert results(folder)['settings']['options']['tau'] == cell.x
        assert results(folder)['segments_per_image'] == results(own)['segments_per_image']
    assert len({cell.measured for cell in found}) > 1
    # Interrupted between two values of one image: those that are there stay as they are.
    lost, kept = (tmp_path / f'out/alpha_8/voc/tau_{tau}/images.jsonl' for tau in taus[:2])
    before = kept.read_bytes()
    lost.write_bytes(b'')
    assert over_tau(request(tmp_path / 'root', tmp_path / 'out'), row, 'voc') == found
    assert kept.read_bytes() == before


def test_tau_is_chosen_on_training_images(tmp_path):
    root = tmp_path / 'root'
    noisy(root / 'cityscapes', 'cityscapes', 'train', 1)
    noisy(root / 'cityscapes', 'cityscapes', 'val', 2)
    row = Row('DiffCut', {'cityscapes': 29.8}, values=(0.05, 0.5, 0.8), note='published: 0.4')
    (cell,) = tuned(request(root, tmp_path / 'out'), row, 'cityscapes')
    folder = tmp_path / 'out/diffcut/cityscapes'
    trained = {tau: results(folder / f'train_tau_{tau}')['mean_iou'] for tau in row.values}
    assert len(set(trained.values())) > 1
    assert trained[cell.x] == max(trained.values())
    assert results(folder / 'train_tau_0.5')['settings']['split'] == 'train'
    assert results(folder / 'val')['settings']['split'] == 'val'
    assert results(folder / 'val')['settings']['options']['tau'] == cell.x
    assert cell.measured == pytest.approx(100 * results(folder / 'val')['mean_iou'])
    assert cell.note == f'tau {cell.x} from the first 1 training images; published: 0.4'
    (fixed,) = tuned(request(root, tmp_path / 'out'), Row('tau 0.5', {'cityscapes': 28.4}), 'cityscapes')
    assert (fixed.published, fixed.note) == (28.4, '')
    assert results(tmp_path / 'out/tau_0.5/cityscapes')['settings']['split'] == 'val'


def test_same_class(root, tmp_path):
    """Four flat colours, of which two are classes: cells of one class are equal, the background does not count."""
    assert run('fig3', root, '-o', tmp_path / 'out', '--backend', 'color') == 0
    cell = cells(tmp_path / 'out/fig3')['SSD-1B', 'voc']
    assert cell['measured'] > 0.95
    assert cell['difference'] == pytest.approx(cell['measured'] - 0.83)
    assert (cell['curve'][0], cell['curve'][-1]) == ([0.0, 0.0], [1.0, 1.0])
    # Two quadrants of 16 x 16 cells, two images.
    assert cell['note'] == f'{1024 * 1023 // 2} pairs of cells; cells of the background left out'


def test_pictures_of_similarities(root, tmp_path):
    """Two of four flat colours are classes, each the upper right or lower left quarter; both images are the same."""
    out = tmp_path / 'out/fig4'
    assert run('fig4', root, '-o', tmp_path / 'out', '--backend', 'color') == 0
    found = cells(out)
    assert list(found) == [('SSD-1B, aeroplane', 'voc'), ('SSD-1B, tvmonitor', 'voc')]
    for name, corner, cell in (('aeroplane', (0, 1), '7, column 24'), ('tvmonitor', (1, 0), '24, column 7')):
        assert found[f'SSD-1B, {name}', 'voc']['measured'] > 0.95
        assert found[f'SSD-1B, {name}', 'voc']['note'].startswith(f'voc_{name}.png: row {cell} of a_1, to b_2')
        picture = np.array(Image.open(out / f'voc_{name}.png')).astype(int)
        assert np.array_equal(picture[:, 320:326], np.full((646, 6, 3), 255))
        # Only the reference has the cross, in the middle of its corner; the rest is the same.
        (above, reference), (target_above, target) = (
            (half[:320], half[-320:]) for half in np.split(np.delete(picture, slice(320, 326), 1), 2, 1)
        )
        row, column = (80 + 160 * place for place in corner)
        for marked, plain in ((above, target_above), (reference, target)):
            crossed = np.argwhere((marked != plain).any(2))
            assert len(crossed)
            assert np.abs(crossed - (row, column)).max() < 20
        similar = reference.reshape(2, 160, 2, 160, 3).mean((1, 3, 4))
        assert np.unravel_index(similar.argmax(), (2, 2)) == corner


def strips(picture: np.ndarray) -> list[np.ndarray]:
    """Return the lines of a picture of similarities: the images, and the maps of each row."""
    return [picture[top : top + 320].astype(int) for top in range(0, len(picture), 326)]


@pytest.mark.parametrize('figure', ['fig3', 'fig4'])
def test_encoders_are_compared_each_by_its_own_model(root, vits, tmp_path, capsys, figure):
    """Two are here, the others are not: the rest is measured, and the exit status says so."""
    kinds = {'dino': 'vit', 'dinov2': 'dinov2', 'clip': 'clip', 'siglip': 'siglip'}
    arguments = ['--model', f'dinov2={vits["dinov2"]}', '--model', f'clip={vits["clip"]}']
    out = tmp_path / 'out'
    assert run(figure, root, '-o', out, *arguments) == 3
    printed, errors = capsys.readouterr()
    assert errors.startswith('diffcut_evaluate: 3 rows could not be measured, the notes say why: ssd_1b, dino, siglip;')
    assert errors.count('\n') == 1
    assert 'model google/siglip-base-patch16-224 is not on this machine' in printed
    measured = {row.partition(',')[0] for (row, _), cell in cells(out / figure).items() if cell['measured'] is not None}
    assert measured == {'DINOv2', 'CLIP'}
    # All of them, and nothing else than them.
    models = [text for row, kind in kinds.items() for text in ('--model', f'{row}={vits[kind]}')]
    assert run(figure, root, '-o', tmp_path / 'all', *models, '--rows', 'siglip,dino,clip,dinov2') == 0
    assert 'rows left out: ssd_1b' in capsys.readouterr().out
    found = cells(tmp_path / 'all' / figure)
    assert {row.partition(',')[0] for row, _ in found} == {'DINO', 'DINOv2', 'CLIP', 'SigLIP'}
    for key, cell in cells(out / figure).items():
        assert cell['measured'] in (None, found.get(key, {}).get('measured'))


def test_the_cosine_of_encoders_is_plain(root, vits, tmp_path):
    row = next(row for row in TABLES['fig3'].rows if row.title == 'DINOv2')
    models = {'dinov2': str(vits['dinov2'])}

    def kernel(**changes) -> str:
        return request(root, tmp_path, **changes).settings(row, 'voc', {}).backend_options.kernel

    assert kernel(models=models) == 'plain'
    assert kernel(models=models, options={'vit.kernel': 'joint', 'diffusion.timestep': '9'}) == 'joint'
    assert request(root, tmp_path, models={'dinov2': 'color'}).settings(row, 'voc', {}).backend == 'color'


def test_a_picture_has_a_line_for_each_encoder(root, vits, tmp_path, capsys):
    """With a backend for SSD-1B alone, rows of other models are left out unless they are asked for."""
    out = tmp_path / 'out'
    assert run('fig4', root, '-o', out, '--backend', 'color') == 0
    assert 'rows left out: dino, dinov2, clip, siglip (--rows NAME,...)' in capsys.readouterr().out
    both = tmp_path / 'both'
    assert run('fig4', root, '-o', both, '--backend', 'color', '--model', f'dinov2={vits["dinov2"]}') == 0
    name = 'fig4/voc_aeroplane.png'
    alone, together, own = (
        strips(np.array(Image.open(path)))
        for path in (out / name, both / name, both / 'fig4/dinov2/any/voc_aeroplane.png')
    )
    assert (len(alone), len(together)) == (2, 3)
    for one, other in ((alone[0], together[0]), (alone[1], together[1]), (own[1], together[2])):
        assert np.array_equal(one[:, 320:], other[:, 320:])  # beside the name of the row
    assert np.abs(together[1] - together[2]).max() > 20


def test_pictures_that_cannot_be_made(root, tmp_path):
    table = TABLES['fig4']
    assert not measure(table, request(root, tmp_path / 'one', limit=1))
    assert 'expected a class that at least two images show' in cells(tmp_path / 'one')['SSD-1B', ANY]['note']
    write_dataset('bsds500', tmp_path / 'root/bsds500')
    assert not measure(table, request(tmp_path / 'root', tmp_path / 'bsds'))
    assert 'expected one with classes, received bsds500' in cells(tmp_path / 'bsds')['SSD-1B', ANY]['note']
    (tmp_path / 'root/bsds500').rename(tmp_path / 'root/other')
    assert not measure(table, request(tmp_path / 'root', tmp_path / 'none'))
    assert 'no folder voc or context or' in cells(tmp_path / 'none')['SSD-1B', ANY]['note']


def test_speed(root, tmp_path):
    out = tmp_path / 'out'
    speed = dataclasses.replace(TABLES['speed'], rows=TABLES['speed'].rows[:2])
    assert measure(speed, request(root, out, limit=2))  # the fixture's images are the same
    summary = results(out / 'diffcut/voc')
    assert summary['features_stored'] == 0
    found = cells(out)
    cell = found['DiffCut', 'voc']
    assert 1 / cell['measured'] == pytest.approx(summary['features_s']['median'] + summary['method_s']['median'])
    assert f'on {summary["machine"]}' == cell['note']
    assert 'expected a Stable Diffusion checkpoint' in found['DiffSeg, SD 1.4', ANY]['note']
    assert not measure(speed, request(root, tmp_path / 'two', jobs=2))
    assert '--jobs: expected 1' in cells(tmp_path / 'two')['DiffCut', ANY]['note']


def test_features_of_other_layers_and_timesteps(root, tmp_path):
    """With random weights in the layout of SSD-1B, so that its layers are found."""
    checkpoint = save_sdxl(tmp_path / 'sdxl', 4, 10)
    asked = request(
        root,
        tmp_path / 'out',
        backend=str(checkpoint),
        options={'diffusion.input_size': '128', 'layers.input_size': '128'},
    )
    assert measure(TABLES['table3'], asked)
    assert all(cell['measured'] is not None for cell in cells(asked.out).values())
    layers = [results(asked.out / f'{row}/voc') for row in ('32x32', '32x32_64x64', 'encoder_decoder')]
    assert len({summary['mean_iou'] for summary in layers}) > 1
    assert [len(summary['settings']['backend_options'].get('layers', ())) for summary in layers] == [0, 2, 4]
    found = over_timestep(asked, dataclasses.replace(TABLES['fig7'].rows[0], values=(0, 100)), 'voc')
    assert [cell.x for cell in found] == [0, 100]
    assert results(asked.out / 'ssd_1b/voc/timestep_100')['settings']['backend_options']['timestep'] == 100


def test_diffseg_of_a_checkpoint(root, tmp_path):
    """With random weights in the layout of SD 1.4; larger queries, so that self-attention is not even everywhere."""
    checkpoint = save_sd1(tmp_path / 'sd1')
    unet = checkpoint / 'unet/diffusion_pytorch_model.safetensors'
    weights = load_file(unet)
    save_file({name: 30 * w if name.endswith('attn1.to_q.weight') else w for name, w in weights.items()}, unet)
    row = next(row for row in TABLES['table1'].rows if row.method == 'diffseg')
    row = dataclasses.replace(row, published={'voc': row.published['voc']})
    finer = dataclasses.replace(row, title='finer', options={'threshold': '0.1'})
    table = dataclasses.replace(TABLES['table1'], rows=(row, finer))
    asked = request(root, tmp_path / 'out', backend=str(checkpoint), options={'attention.input_size': '128'})
    assert measure(table, asked)
    coarse, fine = (results(asked.out / name / 'voc') for name in ('diffseg_threshold_1_pamr', 'finer'))
    assert coarse['segments_per_image'] < fine['segments_per_image']
    for cell, summary in zip(cells(asked.out).values(), (coarse, fine), strict=True):
        assert cell['measured'] == pytest.approx(100 * summary['mean_iou'])
        assert cell['difference'] == pytest.approx(cell['measured'] - 49.8)
    settings = coarse['settings']
    assert (settings['options']['threshold'], settings['refine']) == (1.0, 'pamr')
    assert (settings['backend_options']['timestep'], settings['backend_options']['noise']) == (300, False)
    # The paper's model is another one, and not there.
    assert not measure(table, request(root, tmp_path / 'paper', backend=None))
    assert 'CompVis/stable-diffusion-v1-4 is not on this machine' in cells(tmp_path / 'paper')[row.title, 'voc']['note']


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--tau', '0.4'], '--tau: expected none, since table5 says it for each row'),
        (['--method', 'kmeans'], '--method: expected none'),
        (['--set', 'tau=0.4'], '--set: expected options of backends alone, color.NAME, diffusion.NAME'),
        (['--limit', '0'], "--limit: expected a whole number of at least 1, received '0'"),
        (['--tune', '0'], "--tune: expected a whole number of at least 1, received '0'"),
        (['--jobs', '0'], "--jobs: expected a whole number of at least 1, received '0'"),
        (['--backend', 'resnet'], 'backend: expected color, or ssd-1b'),
        (['--rows', 'diffcut,dino'], "--rows: expected rows of this table: diffcut, diffcut_pamr, received 'dino'"),
        (['--model', 'dino=color'], "--model: expected rows of this table: diffcut, diffcut_pamr, received 'dino'"),
        (['--model', 'diffcut=resnet'], '--model diffcut: expected ssd-1b, '),
        (['--model', 'diffcut'], "--model: expected NAME=VALUE, received 'diffcut'"),
    ],
)
def test_wrong_input_is_one_line(root, tmp_path, capsys, arguments, expected):
    assert run('table5', root, '-o', tmp_path / 'out', *arguments) == 2
    errors = capsys.readouterr().err
    assert expected in errors
    assert errors.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_no_root_and_a_damaged_table(root, tmp_path, capsys):
    assert run('table5', tmp_path / 'nowhere', '-o', tmp_path / 'out') == 2
    assert f'{tmp_path}/nowhere: expected a folder with voc, ' in capsys.readouterr().err
    (tmp_path / 'out/table5').mkdir(parents=True)
    (tmp_path / 'out/table5/table.json').write_text('{"title"')
    assert run('table5', root, '-o', tmp_path / 'out', '--backend', 'color') == 2
    assert 'table.json: expected a table, it is damaged' in capsys.readouterr().err


@pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec('playwright') is None, reason='needs playwright and a Chromium'
)
def test_plots_in_a_browser(root, tmp_path):
    """Bars and lines, without a network."""
    from playwright.sync_api import sync_playwright

    bars = dataclasses.replace(TABLES['table5'], title='Bars')
    lines = Table('Lines', over_tau, (Row('DiffCut', {'voc': None}, values=(0.3, 0.7)),), x='tau')
    for table in (bars, lines):
        measure(table, request(root, tmp_path / table.title))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        try:
            context = browser.new_context(offline=True)
            for table, shown in ((bars, '.bars .point'), (lines, '.scatterlayer .point')):
                page, errors = context.new_page(), []
                page.on('pageerror', lambda error, errors=errors: errors.append(error))
                page.goto((tmp_path / table.title / 'table.html').as_uri())
                page.wait_for_selector(shown, state='attached')
                assert table.title in page.locator('.gtitle').text_content()
                # Published ones of twelve, measured ones of two.
                assert page.locator(shown).count() == (24 if table is bars else 2)
                assert errors == []
        finally:
            browser.close()
