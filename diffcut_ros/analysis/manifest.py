"""All that the outputs of an analysis depend on: what it resumes by, and what run.json says."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from diffcut_ros.analysis.settings import AnalysisOptions, OutputOptions, Settings
from diffcut_ros.analysis.topics import Topics
from diffcut_ros.features.fingerprint import package_versions

# Packages whose versions may change results.
_PACKAGES = ('diffcut_ros', 'torch', 'numpy', 'scipy', 'opencv-python-headless', 'opencv-python', 'rosbags', 'av')


# Of what an analysis keeps to go on from.
_FORMAT = 3


def describe(
    bag: Path, topics: Topics, options: AnalysisOptions, settings: Settings, output: OutputOptions
) -> dict[str, Any]:
    """Return what the outputs depend on, with values as JSON has them; the parameter `depth` says what was done."""
    with_depth = topics.depth is not None
    settings = dataclasses.replace(settings, node=dataclasses.replace(settings.node, depth=with_depth))
    return _asked(bag, options, settings, output) | {
        'topics': {role: name for role, name in dataclasses.asdict(topics).items() if role != 'note'},
        'versions': package_versions(_PACKAGES),
        'format': _FORMAT,
    }


def check_same(
    run: dict[str, Any], out: Path, bag: Path, options: AnalysisOptions, settings: Settings, output: OutputOptions
) -> None:
    """Check that a complete analysis is the one that is asked for, whatever versions made it; its sweep may differ.

    Args:
        run: what its run.json says.
        out: its folder.
        bag, options, settings, output: what is asked for.

    Raises:
        ValueError: naming what differs.
    """
    asked = _asked(bag, options, settings, output)
    differing = differences(_comparable({name: run[name] for name in asked}), _comparable(asked))
    if differing:
        raise ValueError(
            f'{out}: holds a complete analysis with another {", ".join(differing)}; take another folder, or '
            '--overwrite to begin anew'
        )


def _asked(bag: Path, options: AnalysisOptions, settings: Settings, output: OutputOptions) -> dict[str, Any]:
    files = [path for path in bag.rglob('*') if path.is_file()] if bag.is_dir() else [bag]
    asked = {
        'recording': str(bag.resolve()),
        'recording_bytes': sum(path.stat().st_size for path in files),
        'options': dataclasses.asdict(options),
        'settings': dataclasses.asdict(settings),
        'output': dataclasses.asdict(output),
    }
    return json.loads(json.dumps(asked, default=str))


def _comparable(asked: dict[str, Any]) -> dict[str, Any]:
    # Of a parameter file, what it says to the node counts, and that is in the settings. Whether there is depth, the
    # recording says.
    node = asked['settings']['node'] | {'depth': None}
    return asked | {
        'options': asked['options'] | {'params': None, 'node': None},
        'settings': asked['settings'] | {'node': node},
        'output': asked['output'] | {'sweep': None},
    }


def differences(before: Any, now: Any, name: str = '') -> list[str]:
    """Return the names of values that differ in two nested dicts."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [name]
    keys = sorted({*before, *now})
    found = [differences(before.get(key), now.get(key), f'{name}.{key}'.lstrip('.')) for key in keys]
    return [one for some in found for one in some]
