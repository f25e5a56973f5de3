"""Labelled data sets. A new one is a file beside this and a line in `DATASETS`."""

from diffcut_ros.evaluation.datasets.ade20k import ADE20K, ADE20K_AS_PUBLISHED
from diffcut_ros.evaluation.datasets.bsds500 import BSDS500
from diffcut_ros.evaluation.datasets.camvid import CAMVID
from diffcut_ros.evaluation.datasets.cityscapes import CITYSCAPES
from diffcut_ros.evaluation.datasets.coco_object import COCO_OBJECT
from diffcut_ros.evaluation.datasets.coco_stuff import COCO_STUFF
from diffcut_ros.evaluation.datasets.context import CONTEXT
from diffcut_ros.evaluation.datasets.dataset import IGNORED, Dataset, Example, Pair, load
from diffcut_ros.evaluation.datasets.voc import VOC, VOC_WITHOUT_BACKGROUND

__all__ = ['DATASETS', 'IGNORED', 'Dataset', 'Example', 'Pair', 'load']

DATASETS = {
    'voc': VOC,
    'voc_without_background': VOC_WITHOUT_BACKGROUND,
    'context': CONTEXT,
    'coco_object': COCO_OBJECT,
    'coco_stuff': COCO_STUFF,
    'cityscapes': CITYSCAPES,
    'ade20k': ADE20K,
    'ade20k_as_published': ADE20K_AS_PUBLISHED,
    'camvid': CAMVID,
    'bsds500': BSDS500,
}
