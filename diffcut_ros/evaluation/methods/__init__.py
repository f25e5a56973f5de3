"""Every system that DiffCut is compared with, behind one interface: a sample and options in, labels out.

A new one is a file beside this and a line in `METHODS`.
"""

from diffcut_ros.evaluation.methods import autosc, diffcut, diffseg, felzenszwalb, kmeans, maskcut, slic_ncut
from diffcut_ros.evaluation.methods.sample import Method, Sample

__all__ = ['METHODS', 'Method', 'Sample']

METHODS = {
    'diffcut': Method(diffcut.segment, diffcut.DiffcutConfig, 'features'),
    'autosc': Method(autosc.segment, autosc.AutoscConfig, 'features'),
    'maskcut': Method(maskcut.segment, maskcut.MaskcutConfig, 'features'),
    'diffseg': Method(diffseg.segment, diffseg.DiffsegConfig, 'attention'),
    'kmeans': Method(kmeans.segment, kmeans.KMeansConfig, 'features'),
    'felzenszwalb': Method(felzenszwalb.segment, felzenszwalb.FelzenszwalbConfig, 'image'),
    'slic_ncut': Method(slic_ncut.segment, slic_ncut.SlicNcutConfig, 'image'),
}
