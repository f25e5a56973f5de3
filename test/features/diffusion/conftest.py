"""Small checkpoints with random weights, made once."""

import pytest

from support.checkpoints import save_sd1, save_sdxl, save_tiny_vae


@pytest.fixture(scope='session')
def checkpoints(tmp_path_factory):
    """Folders 'sdxl', 'sd1' and 'tiny' (a tiny VAE)."""
    root = tmp_path_factory.mktemp('checkpoints')
    return {'sdxl': save_sdxl(root / 'sdxl'), 'sd1': save_sd1(root / 'sd1'), 'tiny': save_tiny_vae(root / 'tiny')}
