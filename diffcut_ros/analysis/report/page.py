"""Puts the report together: numbers and pictures into the template, all in one file."""

import base64
import importlib.resources
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from diffcut_ros.analysis.objects import Shown
from diffcut_ros.analysis.report.gallery import ShownFrame, thumbnail
from diffcut_ros.analysis.report.plan import plan_of
from diffcut_ros.analysis.report.summary import Series, Summary, Track, summarize
from diffcut_ros.analysis.tables import PICTURES, SWEEP, read_rows
from diffcut_ros.core.classes import UNKNOWN_COLOR, UNKNOWN_NAME, Classes
from diffcut_ros.core.colors import number_colors
from diffcut_ros.core.objects import ObjectMap
from diffcut_ros.missing import needed
from diffcut_ros.printable import no_formula, printable
from diffcut_ros.writing import writing

REPORT = 'report.html'
_ROWS = 12
# Gaps in a track's bar below this share of the recording are closed: a screen cannot show them.
_GAP = 1 / 250
# Where the template has the numbers of the sweep.
_SWEEP_TAG = '<script type="application/json" id="sweep-data">'
# Stamps before 2001 are no dates: a simulation, or time since a start.
_FIRST_DATE_NS = 10**18


@dataclass(frozen=True)
class _LongLived:
    """A row of the table of segments."""

    id: int
    color: str
    thumbnail: str
    lifetime: str
    seen: str
    frames: int
    area: str
    position: str
    class_name: str | None
    class_color: str


@dataclass(frozen=True)
class _Class:
    """A row of the table of classes."""

    name: str
    color: str
    area: str
    segments: int
    confidence: str


def check_report() -> None:
    """Raise ValueError where no report can be written."""
    with needed(REPORT, 'analyze', 'take --no-report'):
        import jinja2  # noqa: F401
        import plotly  # noqa: F401


def write_report(
    path: Path,
    run: Mapping[str, Any],
    tables: Path,
    ending: str,
    frames: Sequence[ShownFrame],
    by_class: bool = False,
    objects: ObjectMap | None = None,
    shown: Mapping[int, Shown] | None = None,
    classes: Classes | None = None,
) -> None:
    """Write the report of an analysis, one HTML file that needs nothing else.

    Args:
        path: of the file.
        run: what run.json says.
        tables: the folder of the tables; of `sweep`, where there is one, too.
        ending: of theirs, .parquet or .csv.
        frames: those that are shown.
        by_class: whether it is coloured by class until its switch is turned; otherwise by track.
        objects: the map of objects, where there is one; their pictures lie beside the tables.
        shown: what shows each of its objects, by its id.
        classes: that objects may have; None: they have none.
    """
    import jinja2
    from plotly.offline import get_plotlyjs

    tracker = run['settings']['tracker']
    by_place = run['settings']['node']['target_frame'] and tracker['max_remembered']
    summary = summarize(tables, ending, run['frames'], math.inf if by_place else tracker['max_age_s'])
    start_ns = summary.bins[0][0] if summary.bins else 0
    class_colors = _class_colors(run, ending)
    plan = None
    if objects is not None:
        frame, voxel_m = run['settings']['node']['target_frame'], run['settings']['tracker']['voxel_m']
        plan = plan_of(objects, shown or {}, frame, voxel_m, classes, tables / PICTURES, lambda ns: _at(ns, start_ns))
    template = environment().from_string(resource('report.html'))
    page = template.stream(
        name=printable(Path(run['recording']).name),
        run=run,
        facts=_facts(run, summary),
        figures=list(_figures(run, summary)),
        settings=list(_settings(run)),
        summary=summary,
        at=lambda stamp_ns: _at(stamp_ns, start_ns),
        frames=frames,
        data_uri=data_uri,
        by_class=by_class,
        plan=plan,
        classes=_classes(summary, class_colors, run['frames']),
        not_seen=[name for name in class_colors if name not in {*summary.classes, UNKNOWN_NAME}],
        long_lived=[_long_lived(track, frames, start_ns, class_colors) for track in summary.tracks[:_ROWS]],
        data={
            'timelines': _timelines(summary, start_ns),
            'tracks': [_bars(track, summary, start_ns, class_colors) for track in _by_begin(summary.tracks)],
            'frames': [_frame(frame, start_ns) for frame in frames],
            'plan': plan,
        },
        sweep=_sweep(tables, ending),
        scripts=[
            jinja2.utils.markupsafe.Markup(script)
            for script in (get_plotlyjs(), resource('hierarchy.js'), resource('objects.js'), resource('report.js'))
        ],
    )
    with writing(path), path.open('wb') as file:
        page.dump(file, encoding='utf-8')


def replace_sweep(report: Path, path: Path, ending: str) -> None:
    """Write a report anew with the table `sweep` that lies beside it now.

    Args:
        report: an earlier report.
        path: of the new file.
        ending: of the table, .parquet or .csv.

    Raises:
        ValueError: for another page in the report's place.
    """
    text = report.read_text(encoding='utf-8')
    before, tag, rest = text.partition(_SWEEP_TAG)
    if '</script>' not in rest:
        raise ValueError(f'{report}: expected a report of this version, received another; remove it, or --overwrite')
    after = rest[rest.index('</script>') :]
    with writing(path):
        path.write_text(before + tag + json.dumps(_sweep(report.parent, ending)) + after, encoding='utf-8')


def environment() -> Any:
    """Return the `jinja2.Environment` of all pages, which escapes what is put into them and knows their style."""
    import jinja2

    made = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    made.filters['printable'] = printable
    made.globals['style'] = jinja2.utils.markupsafe.Markup(resource('theme.css') + resource('report.css'))
    return made


def resource(name: str) -> str:
    """Return a file beside this one, as text."""
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding='utf-8')


def _figures(run: Mapping[str, Any], summary: Summary) -> Iterator[tuple[str, str, str]]:
    """Yield value, name and a remark of what is to be seen at a glance."""
    yield f'{run["frames"]:,}', 'Frames segmented', f'of {run["images"]:,} image{"s" if run["images"] != 1 else ""}'
    if not summary.bins:
        return
    length_s = (summary.bins[-1][1] - summary.bins[0][0]) / 1e9
    yield f'{length_s:,.1f} s', 'Time', f'{(run["frames"] - 1) / length_s:.1f} frames per s' if length_s > 0 else ''
    low, high = _range(summary.segments)
    yield f'{_mean(summary.segments):.1f}', 'Segments per frame', f'{low} to {high}' if low < high else 'in each'
    yield f'{summary.track_count:,}', 'Tracks', 'different track ids'
    if summary.classes:
        named = sum(total.area_share for name, total in summary.classes.items() if name != UNKNOWN_NAME)
        count = len({*summary.classes} - {UNKNOWN_NAME})
        yield _percent(named / run['frames']), 'Pixels named', f'{count} class{"es" if count != 1 else ""}'
    if summary.depth_share.count:
        low, high = _range(summary.depth_share)
        yield _percent(_mean(summary.depth_share)), 'Pixels with depth', f'{_percent(low)} to {_percent(high)}'
    median, most = (_ms(summary.latency_quantile(share)) for share in (0.5, 0.95))
    yield median, 'Latency', f'median; 95\u00a0% within {most}'


def _percent(share: float) -> str:
    return f'{share * 100:.1f}\u00a0%'


def _ms(value: float) -> str:
    return f'{value:,.0f}\u00a0ms' if value >= 100 else f'{value:.3g}\u00a0ms'


def _mean(series: Series) -> float:
    return series.total / series.count


def _range(series: Series) -> tuple[float, float]:
    low, high = ([value for value in values if value is not None] for values in (series.low, series.high))
    return min(low), max(high)


def _facts(run: Mapping[str, Any], summary: Summary) -> list[tuple[str, str]]:
    """Return what was analysed and how, in a few lines."""
    segmenter = run['settings']['segmenter']
    topics = [f'{what.replace("_", " ")} {topic}' for what, topic in run['topics'].items() if topic]
    most = segmenter['target_segments']
    cut = f'at most {most} segments' if most else f'τ {segmenter["tau"]}'
    more = [
        f'{name.replace("_", " ")} {value}'
        for name, value in segmenter.items()
        if name not in ('tau', 'target_segments') and value not in (0, 'none')
    ]
    facts = [
        ('Recording', f'{run["recording"]} ({run["recording_bytes"] / 1e6:,.1f} MB)'),
        ('Topics', ', '.join(topics)),
        ('Images', run['which'] or 'all'),
        ('Model', run['model']),
        ('Cut', ', '.join([cut, *more])),
    ]
    if run.get('classes') is not None:
        facts.append(('Classes', f'{run["settings"]["node"]["classes_file"]} ({len(run["classes"]["colors"])} names)'))
    if summary.bins and summary.bins[0][0] > _FIRST_DATE_NS:
        start = datetime.fromtimestamp(summary.bins[0][0] / 1e9, UTC)
        facts.insert(1, ('Begins', start.strftime('%Y-%m-%d %H:%M:%S UTC')))
    return [(name, printable(text)) for name, text in facts]


def _settings(run: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the name and the values of each group of settings, and of the versions."""
    groups = {name: run[name] for name in ('topics', 'options')}
    groups |= run['settings'] | {'versions': run['versions']}
    groups['node'] = groups['node'] | {'with_depth': groups.pop('with_depth')}
    for name, values in groups.items():
        yield name, [(key, 'none' if value is None else printable(value)) for key, value in values.items()]


def _timelines(summary: Summary, start_ns: int) -> dict[str, Any]:
    middle = [_seconds((first + last) / 2, start_ns) for first, last in summary.bins]
    lines = [('Segments', '', summary.segments, 1), ('Latency', 'ms', summary.latency_ms, 1)]
    if summary.depth_share.count:
        lines.append(('Pixels with depth', '%', summary.depth_share, 100))
    return {
        'seconds': middle,
        'lines': [
            {
                'name': name,
                'unit': unit,
                **{key: [_short(value, factor) for value in getattr(series, key)] for key in ('low', 'mean', 'high')},
            }
            for name, unit, series, factor in lines
        ],
    }


def _class_colors(run: Mapping[str, Any], ending: str) -> dict[str, str]:
    """Return the colour of each class, unknown last, by the name that it has in the tables; empty without classes."""
    if run.get('classes') is None:
        return {}
    colors = dict(run['classes']['colors']) | {UNKNOWN_NAME: _hex(UNKNOWN_COLOR)}
    return {no_formula(name) if ending == '.csv' else name: color for name, color in colors.items()}


def _classes(summary: Summary, colors: Mapping[str, str], frames: int) -> list[_Class]:
    """Return the classes that segments were of, the largest first, unknown last."""
    ordered = sorted(summary.classes.items(), key=lambda item: (item[0] == UNKNOWN_NAME, -item[1].area_share))
    return [
        _Class(
            name=name,
            color=colors[name],
            area=_percent(total.area_share / frames),
            segments=total.segments,
            confidence='' if name == UNKNOWN_NAME else f'{total.confidence / total.segments:.2f}',
        )
        for name, total in ordered
    ]


def _by_begin(tracks: Sequence[Track]) -> list[Track]:
    return sorted(tracks, key=lambda track: (track.first_ns, track.id))


def _bars(track: Track, summary: Summary, start_ns: int, class_colors: Mapping[str, str]) -> dict[str, Any]:
    """Return when a track was seen: spans of bins."""
    bins = summary.bins
    seen = [index for index in range(len(bins)) if track.bins >> index & 1]
    gap = max(1, math.floor(len(bins) * _GAP))
    spans: list[list[int]] = []
    for index in seen:
        if spans and index - spans[-1][1] <= gap:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return {
        'id': track.id,
        'color': _color(track.id),
        'class': track.class_name,
        'class_color': class_colors.get(track.class_name),
        'frames': track.frames,
        'spans': [
            (
                _seconds(max(track.first_ns, bins[first][0]), start_ns),
                _seconds(min(track.last_ns, bins[last][1]), start_ns),
            )
            for first, last in spans
        ],
    }


def _long_lived(
    track: Track, frames: Sequence[ShownFrame], start_ns: int, class_colors: Mapping[str, str]
) -> _LongLived:
    picture = thumbnail(frames, track.id, (track.first_ns, track.last_ns))
    place = [value / track.positions for value in track.position_m] if track.positions else []
    return _LongLived(
        id=track.id,
        color=_color(track.id),
        thumbnail='' if picture is None else data_uri(picture),
        lifetime=_at(track.last_ns, track.first_ns),
        seen=f'{_at(track.first_ns, start_ns)} to {_at(track.last_ns, start_ns)}',
        frames=track.frames,
        area=_percent(track.area_share / track.frames),
        position=', '.join(f'{value:.2f}' for value in place),
        class_name=track.class_name,
        class_color=class_colors.get(track.class_name, ''),
    )


def _frame(frame: ShownFrame, start_ns: int) -> dict[str, Any]:
    return {
        'at': _at(frame.stamp_ns, start_ns),
        'tau': frame.tau,
        'deepest': frame.deepest_tau,
        'size': frame.size_hw[::-1],
        'image': data_uri(frame.image_jpeg),
        'parts': base64.b64encode(frame.parts).decode(),
        'taus': frame.part_taus.tolist(),
        'colors': base64.b64encode(frame.part_colors.tobytes()).decode(),
        'class_colors': (
            None if frame.class_part_colors is None else base64.b64encode(frame.class_part_colors.tobytes()).decode()
        ),
    }


def _sweep(tables: Path, ending: str) -> dict[str, Any] | None:
    """Return the columns of the table `sweep`; None where there is no such table."""
    path, names = tables / f'sweep{ending}', [column.name for column in SWEEP]
    if not path.exists():
        return None
    rows = list(read_rows(path, SWEEP, names))
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def _at(stamp_ns: int, start_ns: int) -> str:
    return f'{(stamp_ns - start_ns) / 1e9:,.1f}\u00a0s'


def _seconds(stamp_ns: float, start_ns: int) -> float:
    return round((stamp_ns - start_ns) / 1e9, 3)


def _short(value: float | None, factor: float) -> float | None:
    """Return a value with the digits that a plot can show."""
    return None if value is None else float(f'{value * factor:.4g}')


def _color(track_id: int) -> str:
    return _hex(number_colors(np.array(track_id)))


def _hex(color_rgb: Sequence[int] | np.ndarray) -> str:
    return '#' + bytes(color_rgb).hex()


def data_uri(jpeg: bytes) -> str:
    """Return a JPEG file as the address of an image."""
    return f'data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}'
