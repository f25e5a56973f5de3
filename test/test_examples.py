"""The notebook runs; the example node is tested in `node/test_examples.py`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / 'examples' / 'library.ipynb'


def test_the_notebook_prints_what_it_shows(tmp_path):
    pytest.importorskip('skimage')
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())['cells'] if cell['cell_type'] == 'code']
    program = tmp_path / 'notebook.py'
    program.write_text('\n'.join(''.join(cell['source']) for cell in cells))
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, check=True, cwd=NOTEBOOK.parents[1]
    )
    shown = [''.join(output['text']) for cell in cells for output in cell['outputs'] if output.get('name') == 'stdout']
    assert len(shown) == 4
    # Digits apart, which may differ between processors.
    assert re.sub(r'[\d.]+', '#', done.stdout) == re.sub(r'[\d.]+', '#', ''.join(shown))
