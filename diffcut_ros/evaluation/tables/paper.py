"""Tables and curves of DiffCut (Couairon et al., NeurIPS 2024, arXiv 2406.02842), with the figures published there.

ADE20K is read as the code of its authors does, which published figures come from.
"""

import dataclasses

from diffcut_ros.evaluation.tables.measure import mean_iou, over_tau, over_timestep, rate, same_class, tuned
from diffcut_ros.evaluation.tables.pictures import similarity, together
from diffcut_ros.evaluation.tables.request import ANY
from diffcut_ros.evaluation.tables.rows import Row
from diffcut_ros.evaluation.tables.table import Table

_SIX = ('voc', 'context', 'coco_object', 'coco_stuff', 'cityscapes', 'ade20k_as_published')
# From 0.3 to 0.97; at alpha 1, all NCut values are close to 1.
_TAUS = tuple(percent / 100 for percent in (*range(30, 91, 5), *range(91, 98)))


def _six(*figures: float) -> dict[str, float | None]:
    return dict(zip(_SIX, figures, strict=True))


_LAYERS = {
    '32': 'down_blocks.2.attentions.1.transformer_blocks.3.attn1',
    '64': 'down_blocks.1.attentions.1.transformer_blocks.1.attn1',
    'decoder 32': 'up_blocks.0.attentions.2.transformer_blocks.9.attn1',
    'decoder 64': 'up_blocks.1.attentions.2.transformer_blocks.0.attn1',
}
_OWN_FEATURES = "features of the backend, where MaskCut's authors take DINO's"

_DIFFCUT = Row('DiffCut', _six(62.0, 54.1, 32.0, 46.1, 28.4, 42.4))
_DIFFCUT_PAMR = Row('DiffCut + PAMR', _six(65.2, 56.5, 34.1, 49.1, 30.6, 44.3), refine='pamr')
_DIFFSEG_PAMR = Row(
    'DiffSeg, threshold 1, + PAMR',
    _six(49.8, 48.8, 23.2, 44.2, 16.8, 37.7),
    'diffseg',
    {'threshold': '1.0'},
    'sd1.4',
    'pamr',
)
_MASKCUT = {
    k: Row(f'MaskCut k={k}', published, 'maskcut', {'objects': str(k)}, note=_OWN_FEATURES)
    for k, published in {
        3: _six(53.7, 42.3, 30.9, 41.8, 18.0, 33.7),
        5: _six(53.8, 43.4, 30.1, 41.7, 18.7, 35.7),
        20: _six(53.8, 43.5, 30.0, 41.5, 18.0, 35.6),
    }.items()
}
_DIFFSEG_SSD = Row('DiffSeg on SSD-1B', _six(48.2, 41.2, 31.7, 35.4, 22.3, 39.9), 'diffseg', {'threshold': '0.5'})


def _on_voc(row: Row, title: str = '', published: float | None = None, **changes: object) -> Row:
    figure = row.published['voc'] if published is None else published
    return dataclasses.replace(row, title=title or row.title, published={'voc': figure}, **changes)


def _over_tau(dataset: str, published: dict[int, str]) -> tuple[Row, ...]:
    """Return a row for each alpha, with what the paper says of some."""
    return tuple(
        Row(
            f'alpha {alpha}',
            {dataset: None},
            options={'alpha': str(alpha)},
            values=_TAUS,
            note=f'published: {published[alpha]}' if alpha in published else '',
        )
        for alpha in (1, 5, 10, 15)
    )


def _encoders(dataset: str, note: str = '') -> tuple[Row, ...]:
    """Return the rows of encoders that the paper compares with its own; which sizes it took is not known here."""
    models = {
        'DINO': 'facebook/dino-vitb8',
        'DINOv2': 'dinov2-base',
        'CLIP': 'openai/clip-vit-large-patch14',
        'SigLIP': 'google/siglip-base-patch16-224',
    }
    options = {'vit.kernel': 'plain'}
    return tuple(
        Row(title, {dataset: None}, options=options, backend=model, note=note, compared=True)
        for title, model in models.items()
    )


TABLES = {
    'table1': Table(
        'Table 1: zero-shot segmentation',
        mean_iou,
        (
            Row('ReCo', _six(25.1, 19.9, 15.7, 26.3, 19.3, 11.2), None),
            Row('MaskCLIP', _six(38.8, 23.6, 20.6, 19.6, 10.0, 9.8), None),
            _MASKCUT[5],
            Row('DiffSeg, as published', {'coco_stuff': 43.6, 'cityscapes': 21.2}, None),
            _DIFFSEG_PAMR,
            _DIFFCUT_PAMR,
        ),
    ),
    'table2': Table(
        'Table 2: methods on the same backbone',
        mean_iou,
        (
            _DIFFSEG_SSD,
            Row('AutoSC', _six(61.5, 53.3, 29.8, 46.9, 25.3, 38.9), 'autosc'),
            _DIFFCUT,
        ),
    ),
    'table3': Table(
        'Table 3: features of other resolutions, and of the decoder',
        mean_iou,
        (
            _on_voc(_DIFFCUT, '32x32'),
            _on_voc(_DIFFCUT, '32x32 + 64x64', 61.6, options={'layers.layers': f'{_LAYERS["32"]},{_LAYERS["64"]}'}),
            _on_voc(_DIFFCUT, 'encoder + decoder', 60.9, options={'layers.layers': ','.join(_LAYERS.values())}),
        ),
    ),
    'table5': Table('Table 5: with and without PAMR', mean_iou, (_DIFFCUT, _DIFFCUT_PAMR)),
    'table6': Table('Table 6: rounds of MaskCut', mean_iou, (_DIFFCUT, *_MASKCUT.values())),
    'table7': Table(
        'Table 7: backbones',
        mean_iou,
        (
            dataclasses.replace(
                _DIFFCUT_PAMR,
                title='SD 1.4 + PAMR',
                published=_six(57.5, 52.8, 30.0, 45.2, 24.5, 36.7),
                backend='sd1.4',
            ),
            dataclasses.replace(
                _DIFFCUT_PAMR,
                title='SSD-Vega + PAMR',
                published=_six(62.2, 56.4, 34.9, 49.5, 30.1, 45.7),
                backend='ssd-vega',
            ),
            dataclasses.replace(_DIFFCUT_PAMR, title='SSD-1B + PAMR'),
            _DIFFSEG_PAMR,
        ),
    ),
    'table8': Table(
        'Table 8: from cells to pixels',
        mean_iou,
        (
            _on_voc(_DIFFCUT, 'concept assignment'),
            _on_voc(_DIFFCUT, 'nearest', 61.2, options={'upsampling': 'nearest'}),
        ),
    ),
    'table9': Table(
        'Table 9: k-means',
        mean_iou,
        (
            Row('K of the labels', {'voc_without_background': 79.5, 'coco_stuff': 36.4, 'cityscapes': 21.4}, 'kmeans'),
            Row('K=3', {'voc_without_background': 70.8}, 'kmeans', {'clusters': '3'}),
            Row('K=6', {'coco_stuff': 37.8, 'cityscapes': 21.0}, 'kmeans', {'clusters': '6'}),
        ),
    ),
    'table10': Table(
        'Table 10: tau chosen on training images',
        tuned,
        (
            Row('tau 0.5', {'coco_object': 32.0, 'coco_stuff': 46.1, 'cityscapes': 28.4}),
            Row('tau chosen', {'coco_object': 38.7}, values=(0.35, 0.55, 0.75), note='published: 0.75'),
            Row('tau chosen', {'coco_stuff': 48.6}, values=(0.35, 0.55, 0.75), note='published: 0.35'),
            Row('tau chosen', {'cityscapes': 29.8}, values=(0.35, 0.55, 0.75)),
        ),
    ),
    'fig3': Table(
        'Figure 3: same-class ROC',
        same_class,
        (
            Row('SSD-1B', {'voc': 0.83}, note='cells of the background left out'),
            *_encoders('voc', 'published: below SSD-1B'),
        ),
        'area under the curve',
        2,
        'false positive rate',
        'true positive rate',
    ),
    'fig4': Table(
        'Figure 4: similarity to one cell',
        similarity,
        (Row('SSD-1B', {ANY: None}), *_encoders(ANY)),
        'area under the curve of "same class"',
        2,
        finish=together,
    ),
    'fig5': Table(
        'Figure 5: alpha and tau on Cityscapes',
        over_tau,
        _over_tau(
            'cityscapes',
            {1: 'above AutoSC, 25.3, for tau 0.92 to 0.96', 10: 'above AutoSC, 25.3, for tau 0.35 to 0.67'},
        ),
        x='tau',
    ),
    'fig7': Table(
        'Figure 7: timestep',
        over_timestep,
        (
            Row(
                'SSD-1B',
                {'voc': None},
                values=(0, 10, 25, 50, 75, 100, 200, 300, 400, 500),
                note='published: 50 is about the best, with 62.0',
            ),
        ),
        x='timestep',
    ),
    'fig8': Table(
        'Figure 8: alpha and tau on VOC',
        over_tau,
        _over_tau('voc', {1: 'above 60 for tau 0.91 to 0.94', 10: 'above 60 over a wide range of tau'}),
        x='tau',
    ),
    'speed': Table(
        'Table 11: speed, published on a TITAN RTX at 1024x1024',
        rate,
        tuple(
            dataclasses.replace(row, title=title, published={ANY: published}, refine='none')
            for row, title, published in (
                (_DIFFCUT, 'DiffCut', 1.11),
                (_DIFFSEG_PAMR, 'DiffSeg, SD 1.4', 2.75),
                (_DIFFSEG_SSD, 'DiffSeg, SSD-1B', 1.25),
                (_MASKCUT[5], 'MaskCut k=5', 0.84),
            )
        ),
        'images/s',
        2,
    ),
}
