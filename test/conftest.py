"""What tests of several folders use."""

import os
import signal
from pathlib import Path

import pytest

from diffcut_ros.missing import OPTIONAL

# Before PyTorch is imported, also by nodes that tests start. Several tests run at a time: with more threads than cores,
# each operation waits for the slowest of its threads, and test/core took 209 s instead of 51 s on 2 cores.
os.environ.setdefault('OMP_NUM_THREADS', '1')


def pytest_configure() -> None:
    """Have processes that tests start obey SIGINT, also where a shell has put the tests into the background."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first the folders whose files take minutes: begun last, they would run alone at the end."""
    long = ('node', 'analysis', 'benchmarks', 'evaluation')
    items.sort(key=lambda item: (*long, item.nodeid.split('/')[1]).index(item.nodeid.split('/')[1]))


class _File(pytest.Module):
    """Is skipped where a package is absent that only some commands need: in a ROS workspace, pip brings these."""

    def collect(self):
        try:
            return super().collect()
        except self.CollectError as error:
            missing = error.__cause__
            name = str(missing.name).partition('.')[0] if isinstance(missing, ModuleNotFoundError) else ''
            if name not in OPTIONAL:
                raise
            pytest.skip(f'{name} is absent: pip install {OPTIONAL[name][0]}', allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Make files of tests such ones."""
    return _File.from_parent(parent, path=module_path)


@pytest.fixture(scope='session')
def checkpoints(tmp_path_factory):
    """Folders of small checkpoints with random weights: 'sdxl', 'sd1' and 'tiny' (a tiny VAE)."""
    from support.checkpoints import save_sd1, save_sdxl, save_tiny_vae  # importing diffusers takes seconds

    root = tmp_path_factory.mktemp('checkpoints')
    return {'sdxl': save_sdxl(root / 'sdxl'), 'sd1': save_sd1(root / 'sd1'), 'tiny': save_tiny_vae(root / 'tiny')}


@pytest.fixture(scope='session')
def vits(tmp_path_factory):
    """Folders of small vision transformers with random weights, by the names of `support.vits.KINDS`."""
    from support.vits import KINDS, save_vit  # importing transformers takes seconds

    root = tmp_path_factory.mktemp('vits')
    return {kind: save_vit(kind, root / kind) for kind in KINDS}


@pytest.fixture(scope='module')
def browser():
    """A Chromium."""
    from playwright.sync_api import sync_playwright

    from support.browser import CHROMIUM
    from support.waiting import PATIENCE_S

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'], timeout=1000 * PATIENCE_S)
        yield browser
        browser.close()
