"""The page over the reports of several recordings: one HTML file that links to them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import cv2

from diffcut_ros.analysis.many import Outcome
from diffcut_ros.analysis.parts import VIDEO, read_run
from diffcut_ros.analysis.report.gallery import encode_jpeg
from diffcut_ros.analysis.report.page import REPORT, data_uri, environment, resource
from diffcut_ros.analysis.run import Summary
from diffcut_ros.analysis.tables import TABLES, read_rows
from diffcut_ros.exit_status import Status
from diffcut_ros.features.fingerprint import package_versions
from diffcut_ros.media.video import middle_frame
from diffcut_ros.printable import printable
from diffcut_ros.writing import writing

INDEX = 'index.html'
_THUMBNAIL_PX = 192


@dataclass(frozen=True)
class _Recording:
    """A row of the table of recordings; `link` is empty where there is no report."""

    name: str
    path: Path
    link: str
    thumbnail: str
    summary: Summary
    length_s: float
    segments: float


def write_index(out: Path, outcomes: Sequence[Outcome], ending: str) -> None:
    """Write the page over the recordings that were analysed into the folders of `out`.

    Args:
        out: the folder of all.
        outcomes: what became of each; texts and names in it are other people's.
        ending: of the tables, .parquet or .csv.

    Raises:
        OSError: when it cannot be written.
    """
    recordings = list(_recordings(outcomes, ending))
    summaries = [recording.summary for recording in recordings]
    page = environment().from_string(resource('index.html'))
    text = page.render(
        name=printable(out.resolve().name),
        recordings=recordings,
        failed=[outcome for outcome in outcomes if outcome.status not in (0, Status.INCOMPLETE)],
        incomplete=sum(outcome.status == Status.INCOMPLETE for outcome in outcomes),
        frames=sum(summary.frames for summary in summaries),
        images=sum(summary.images for summary in summaries),
        left_out=sum(summary.problems for summary in summaries),
        length_s=sum(recording.length_s for recording in recordings),
        version=package_versions(('diffcut_ros',)).get('diffcut_ros', ''),
    )
    new = out / f'.new-{INDEX}'
    with writing(out / INDEX):
        new.unlink(missing_ok=True)  # it may be a link to another file
        new.write_text(text, encoding='utf-8')
        os.replace(new, out / INDEX)


def _recordings(outcomes: Sequence[Outcome], ending: str) -> Iterator[_Recording]:
    for outcome in outcomes:
        if outcome.status not in (0, Status.INCOMPLETE):
            continue
        folder, first_ns, last_ns, segments = outcome.folder, None, 0, 0
        summary = Summary.of(read_run(folder))
        for stamp_ns, count in read_rows(folder / f'frames{ending}', TABLES['frames'], ('stamp_ns', 'segments')):
            first_ns, last_ns, segments = stamp_ns if first_ns is None else first_ns, stamp_ns, segments + count
        yield _Recording(
            name=folder.name,
            path=outcome.bag,
            # Not only a name: one with a colon would be taken for a protocol.
            link=f'./{quote(folder.name)}/{REPORT}' if (folder / REPORT).exists() else '',
            thumbnail=_thumbnail(folder / VIDEO),
            summary=summary,
            length_s=0.0 if first_ns is None else max(0, last_ns - first_ns) / 1e9,
            segments=segments / max(1, summary.frames),
        )


def _thumbnail(video: Path) -> str:
    """Return a picture from the middle of a video, as the address of an image; empty where there is none."""
    image_rgb = None
    with suppress(OSError, ValueError):
        image_rgb = middle_frame(video)
    if image_rgb is None:
        return ''
    height, width = image_rgb.shape[:2]
    scale = min(1.0, _THUMBNAIL_PX / max(height, width))
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    return data_uri(encode_jpeg(cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA)))
