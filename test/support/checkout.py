"""The checkout that is tested."""

import shutil
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
COMMANDS = set(PROJECT['scripts'])


def copy_of_the_checkout(folder: Path) -> Path:
    """Copies the files that git would commit; returns the folder."""
    listing = ['git', '-C', ROOT, 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    for name in filter(None, subprocess.check_output(listing, text=True).split('\0')):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder
