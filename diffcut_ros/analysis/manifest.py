"""All that the outputs of an analysis depend on: what it resumes by, and what run.json says."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from diffcut_ros.analysis.settings import AnalysisOptions, OutputOptions, Settings
from diffcut_ros.analysis.topics import Topics
from diffcut_ros.classes_file import ClassesFile
from diffcut_ros.features.fingerprint import package_versions

# Packages whose versions may change results.
_PACKAGES = ('diffcut_ros', 'torch', 'numpy', 'scipy', 'opencv-python-headless', 'opencv-python', 'rosbags', 'av')


# Of what an analysis keeps to go on from.
_FORMAT = 6


def describe(
    bag: Path,
    topics: Topics,
    options: AnalysisOptions,
    settings: Settings,
    output: OutputOptions,
    classes: ClassesFile | None,
) -> dict[str, Any]:
    """Return what the outputs depend on, with values as JSON has them; the parameter `depth` says what was done."""
    with_depth = topics.depth is not None
    settings = dataclasses.replace(settings, node=dataclasses.replace(settings.node, depth=with_depth))
    return _asked(bag, options, settings, output, classes) | {
        'topics': {role: name for role, name in dataclasses.asdict(topics).items() if role != 'note'},
        'versions': package_versions(_PACKAGES),
        'format': _FORMAT,
    }


def check_same(
    run: dict[str, Any],
    out: Path,
    bag: Path,
    options: AnalysisOptions,
    settings: Settings,
    output: OutputOptions,
    classes: ClassesFile | None,
) -> None:
    """Check that a complete analysis is the one that is asked for, whatever versions made it; its sweep may differ.

    Args:
        run: what its run.json says.
        out: its folder.
        bag, options, settings, output, classes: what is asked for.

    Raises:
        ValueError: naming what differs.
    """
    asked = _asked(bag, options, settings, output, classes)
    differing = differences(_comparable({name: run.get(name) for name in asked}), _comparable(asked))
    if differing:
        raise ValueError(
            f'{out}: holds a complete analysis with another {", ".join(differing)}; take another folder, or '
            '--overwrite to begin anew'
        )


def check_run(run: dict[str, Any]) -> None:
    """Check that run.json, whoever wrote it, holds what is read of it.

    Raises:
        ValueError: when it does not.
    """
    kinds = {'recording': str, 'recording_bytes': int, 'options': dict, 'settings': dict, 'output': dict}
    for name, kind in kinds.items():
        if not isinstance(run.get(name), kind):
            raise ValueError(f'{name}: expected {kind.__name__}, received {type(run.get(name)).__name__}')
    if not (isinstance(run['settings'].get('node'), dict) and isinstance(run['output'].get('sweep'), list)):
        raise ValueError('expected settings.node as dict and output.sweep as list')


def _asked(
    bag: Path, options: AnalysisOptions, settings: Settings, output: OutputOptions, classes: ClassesFile | None
) -> dict[str, Any]:
    files = [path for path in bag.rglob('*') if path.is_file()] if bag.is_dir() else [bag]
    asked = {
        'recording': str(bag.resolve()),
        'recording_bytes': sum(path.stat().st_size for path in files),
        'options': dataclasses.asdict(options),
        'settings': dataclasses.asdict(settings),
        'output': dataclasses.asdict(output),
        'classes': None if classes is None else _about(classes),
    }
    return json.loads(json.dumps(asked, default=str))


def _about(content: ClassesFile) -> dict[str, Any]:
    """Return names and colours of classes, and what changes with all that segments get their names by."""
    classes = content.classes
    colors = [(one.name, '#{:02x}{:02x}{:02x}'.format(*one.color)) for _, one in sorted(classes.classes.items())]
    sources = [source.image for source in classes.sources]
    told = [list(classes.classes), colors, classes.class_id.tolist(), classes.score.tolist(), sources]
    digest = hashlib.sha256(json.dumps(told).encode())
    digest.update(classes.feature.tobytes())
    return {'sha256': digest.hexdigest(), 'backend': content.backend, 'colors': colors}


def _comparable(asked: dict[str, Any]) -> dict[str, Any]:
    # Of a parameter file, what it says to the node counts, and that is in the settings. Whether there is depth, the
    # recording says.
    node = asked['settings']['node'] | {'depth': None, 'classes_file': None}
    return asked | {
        'options': asked['options'] | {'params': None, 'node': None, 'classes': None},
        'settings': asked['settings'] | {'node': node},
        'output': asked['output'] | {'sweep': None, 'objects': asked['output'].get('objects', False)},
    }


def differences(before: Any, now: Any, name: str = '') -> list[str]:
    """Return the names of values that differ in two nested dicts."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [name]
    keys = sorted({*before, *now})
    found = [differences(before.get(key), now.get(key), f'{name}.{key}'.lstrip('.')) for key in keys]
    return [one for some in found for one in some]
