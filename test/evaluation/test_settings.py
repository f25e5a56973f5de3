from pathlib import Path

import pytest

from diffcut_ros.core import SegmenterConfig
from diffcut_ros.evaluation.datasets import DATASETS
from diffcut_ros.evaluation.methods import METHODS
from diffcut_ros.evaluation.settings import resolve

ROOT = Path('data')


def test_defaults():
    settings = resolve('voc', ROOT, device='cpu')
    assert (settings.split, settings.protocol, settings.method, settings.backend) == (
        'val',
        'paper',
        'diffcut',
        'color',
    )
    assert settings.options.tau == SegmenterConfig.tau
    assert resolve('ade20k', ROOT).split == 'validation'
    assert resolve('bsds500', ROOT).protocol == 'plain'


def test_options_of_method_and_backend():
    options = {'tau': '0.7', 'target_segments': '12', 'color.cells': '40', 'color.edge': '3'}
    settings = resolve('voc', ROOT, options=options, device='cpu')
    assert (settings.options.tau, settings.options.target_segments) == (0.7, 12)
    assert (settings.backend_options.cells, settings.backend_options.edge) == (40, 3.0)
    diffusion = resolve('voc', ROOT, options={'diffusion.allow_download': 'true'}, backend='ssd-1b')
    assert diffusion.backend_options.allow_download is True


def test_a_method_of_images_has_no_backend():
    settings = resolve('camvid', ROOT, method='felzenszwalb', options={'scale': '300'})
    assert settings.options.scale == 300.0
    assert settings.backend is settings.backend_options is None
    assert settings.describe()['options'] == vars(METHODS['felzenszwalb'].config(scale=300.0))


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ({'dataset': 'kitti'}, rf'data set: expected one of {", ".join(DATASETS)}, received .kitti.'),
        ({'protocol': 'theirs'}, r'protocol: expected one of paper, plain, received .theirs.'),
        ({'method': 'sam'}, r'method: expected one of diffcut, .* received .sam.'),
        ({'refine': 'crf'}, r'refine: expected one of none, pamr, received .crf.'),
        ({'split': 'test'}, r'split: expected one of val, train, received .test.'),
        ({'limit': 0}, r'limit: expected at least 1 image, received 0'),
        ({'backend': 'resnet'}, r'backend: expected color, or ssd-1b'),
        ({'device': 'tpu'}, r'device: expected auto or one of cpu'),
        ({'options': {'taau': '1'}}, r'option: expected one of tau, alpha, .* received .taau.'),
        ({'options': {'tau': 'much'}}, r'tau: expected float 0.0 to 1.0, received .much.'),
        ({'options': {'tau': '3'}}, r'tau: expected 0.0 to 1.0, received 3.0'),
        ({'options': {'target_segments': '1.5'}}, r'target_segments: expected int 0 to 1000, received .1.5.'),
        ({'options': {'color.cell': '9'}}, r'option: expected one of color.cells, .* received .color.cell.'),
        ({'options': {'color.cells': '-9'}}, r'cells: expected .* received -9'),
        ({'options': {'diffusion.vae': 'tiny'}}, r'option: expected one of color.cells, .* received .diffusion.vae.'),
        (
            {'options': {'diffusion.allow_download': 'maybe'}, 'backend': 'ssd-1b'},
            r'diffusion.allow_download: expected bool, received .maybe.',
        ),
        ({'method': 'felzenszwalb', 'options': {'color.cells': '9'}}, r'color.cells: expected no option of a backend'),
        (
            {'method': 'diffseg'},
            r'backend: expected a Stable Diffusion checkpoint, for attention maps, received .color.',
        ),
        (
            {'method': 'diffseg', 'backend': 'sd1.4', 'options': {'diffusion.timestep': '9'}},
            r'option: expected one of attention.input_size, .* received .diffusion.timestep.',
        ),
        ({'dataset': 'bsds500', 'protocol': 'paper'}, r'protocol: expected plain for bsds500, which has no classes'),
        ({'refine': 'pamr', 'options': {'refine': 'pamr'}}, r'expected one of --refine pamr and --set refine=pamr'),
    ],
)
def test_what_is_wrong_is_said(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        resolve(**{'dataset': 'voc', 'root': ROOT} | arguments)
