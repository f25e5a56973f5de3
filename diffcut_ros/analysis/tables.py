"""The tables of an analysis: their columns, rows from results, and files as Parquet or CSV."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcut_ros.analysis.csv_file import append_file, append_rows, read_csv, write_csv
from diffcut_ros.analysis.frame_result import FrameResult
from diffcut_ros.missing import needed
from diffcut_ros.writing import writing

Row = tuple[Any, ...]

# What a value of a column is in Python, by its type in Arrow.
_PYTHON_TYPES = {'int64': int, 'float64': float, 'string': str}
# Of Parquet that are read at a time.
_BATCH_ROWS, _BATCH_ROWS_OF_LISTS = 8192, 64


@dataclass(frozen=True)
class Column:
    """A column: its name, its type in Arrow, unit and meaning. Values may be missing where the meaning says so."""

    name: str
    type_name: str
    unit: str
    meaning: str


_STAMP = Column('stamp_ns', 'int64', 'ns', 'Header stamp of the image; when it was recorded where that is 0')

# In the metadata of Parquet: the frame that places are in, where it is not the camera's.
FRAME_KEY = b'frame_id'

_PLACES = (
    Column(
        'position_x_m',
        'float64',
        'm',
        "Median of its points in the camera's optical frame, to the right; in the target frame where one is given",
    ),
    Column('position_y_m', 'float64', 'm', 'Likewise, down; in the target frame along its y'),
    Column(
        'position_z_m',
        'float64',
        'm',
        'Likewise, forward; this and the following are missing without depth, and without a transform',
    ),
)

FRAMES = (
    _STAMP,
    Column('latency_ms', 'float64', 'ms', 'Time of features, segments, tracks and places, without reading and writing'),
    Column('segments', 'int64', '', 'Number of segments; parts count one each, see the parameter instances'),
    Column('tau', 'float64', '', 'NCut threshold that they were cut at'),
    Column('images_left_out', 'int64', '', 'Images of the topic between the last row and this one'),
    Column('width_px', 'int64', 'px', 'Width of the image'),
    Column('height_px', 'int64', 'px', 'Height of the image'),
    Column('depth_share', 'float64', '', 'Share of the depth image with depth, 0 to 1; missing without depth'),
)

SEGMENTS = (
    _STAMP,
    Column('track_id', 'int64', '', 'The same in each image that shows the segment, from 1; 0 = not tracked'),
    Column('label', 'int64', '', 'Number of the segment in its image, from 1'),
    Column('segment', 'int64', '', 'The segment of the cut that it is part of, from 1, see the parameter instances'),
    Column('area_px', 'int64', 'px', 'Number of its pixels'),
    Column('box_x0_px', 'int64', 'px', 'First column of its box'),
    Column('box_y0_px', 'int64', 'px', 'First row'),
    Column('box_x1_px', 'int64', 'px', 'Last column + 1'),
    Column('box_y1_px', 'int64', 'px', 'Last row + 1'),
    Column('centroid_x_px', 'float64', 'px', 'Mean column of its pixels'),
    Column('centroid_y_px', 'float64', 'px', 'Mean row'),
    Column('score', 'float64', '', 'Cohesion: mean cosine similarity of its cells to their mean, 0 to 1'),
    Column('class', 'string', '', 'Name of what it resembles, unknown where that is nothing; missing without classes'),
    Column('confidence', 'float64', '', 'How sure that is, 0 to 1, 0 where it is unknown; missing likewise'),
    Column(
        'object_id',
        'int64',
        '',
        'The object of the map that most of its depth samples lie in, see `objects`; missing without `--objects`, and '
        'where it has none',
    ),
    *_PLACES,
    Column('box_min_x_m', 'float64', 'm', 'Smallest x of its box in space, without the outermost 5 %'),
    Column('box_min_y_m', 'float64', 'm', 'Smallest y'),
    Column('box_min_z_m', 'float64', 'm', 'Smallest z'),
    Column('box_max_x_m', 'float64', 'm', 'Largest x'),
    Column('box_max_y_m', 'float64', 'm', 'Largest y'),
    Column('box_max_z_m', 'float64', 'm', 'Largest z'),
    Column('valid_share', 'float64', '', 'Share of its pixels with depth, above 0 to 1'),
)

PROBLEMS = (
    Column('stamp_ns', 'int64', 'ns', 'Header stamp of the message; when it was recorded where that is 0 or damaged'),
    Column('problem', 'string', '', 'What was expected and received'),
)

_RECORDING = Column('recording', 'string', '', 'Name of its folder, where several recordings were analysed')

# Of several recordings, one row each.
RECORDINGS = (
    _RECORDING,
    Column('status', 'int64', '', 'Exit status of its analysis: 0 all done; 3 not all could be read; else failed'),
    Column('frames', 'int64', '', 'Images segmented; this and the following are missing where it failed'),
    Column('images', 'int64', '', 'Images of the recording, in the time that was asked for'),
    Column('problems', 'int64', '', 'Images and messages left out'),
    Column('lost', 'string', '', 'What could not be read; empty: nothing'),
    Column('text', 'string', '', 'What its analysis says'),
)

HIERARCHIES = (
    _STAMP,
    Column('grid_rows', 'int64', 'cells', 'Rows of the grid of cells that were cut'),
    Column('grid_columns', 'int64', 'cells', 'Columns of it'),
    Column('tau', 'float64', '', 'NCut threshold down to which the hierarchy goes'),
    Column(
        'order', 'list<int32>', '', 'All cells, numbered row by row from 0, so that each segment is a range of them'
    ),
    Column('begins', 'list<int32>', '', 'Positions in `order` where a segment begins, beside the first'),
    Column('begins_tau', 'list<float64>', '', 'For each of these, the tau above which one begins there'),
)

SWEEP = (
    Column('tau', 'float64', '', 'NCut threshold'),
    Column(
        'segments_mean',
        'float64',
        '',
        'Segments of the cut of the cells per image, before `instances` makes parts of them: mean',
    ),
    Column('segments_p05', 'float64', '', '5th percentile'),
    Column('segments_median', 'float64', '', 'Median'),
    Column('segments_p95', 'float64', '', '95th percentile'),
    Column(
        'stability_in_time',
        'float64',
        '',
        'Adjusted Rand index of the cells with those of the image before, mean, motion included; missing for one image',
    ),
    Column(
        'stability_in_tau', 'float64', '', 'Likewise, with the same image at the tau before; missing for the first tau'
    ),
)

OBJECTS = (
    Column('object_id', 'int64', '', 'The smallest of its track ids'),
    Column('track_ids', 'list<int64>', '', 'All track ids that it was seen as, see `segments`'),
    Column(
        'class', 'string', '', 'Name of what its mean feature resembles most, else unknown; missing without classes'
    ),
    Column('confidence', 'float64', '', 'How sure that is, from `min_confidence` to 1; 0 = unknown; missing likewise'),
    Column(
        'position_x_m',
        'float64',
        'm',
        'Median of the points of its voxels in the target frame, each voxel weighted by its samples, at most by the '
        'median number of samples of all its voxels',
    ),
    Column('position_y_m', 'float64', 'm', 'Likewise'),
    Column('position_z_m', 'float64', 'm', 'Likewise, upwards: boxes stand upright along z of the target frame'),
    Column(
        'box_x_m',
        'float64',
        'm',
        'Centre of its box. Along each side of the box, 5 % of the same weights are left out at either end. Then each '
        'end is moved out by 1/18 of the length that is left, which makes up for it where points lie evenly, but not '
        'beyond the outermost point. No side is shorter than a voxel',
    ),
    Column('box_y_m', 'float64', 'm', 'Likewise'),
    Column('box_z_m', 'float64', 'm', 'Likewise'),
    Column('box_length_m', 'float64', 'm', 'Its longer side along the ground'),
    Column('box_width_m', 'float64', 'm', 'Its shorter side along the ground'),
    Column('box_height_m', 'float64', 'm', 'Its side along z'),
    Column('box_yaw_rad', 'float64', 'rad', 'Turn of its length from x to y, -pi / 2 to pi / 2'),
    Column('voxels', 'int64', '', 'Number of its voxels, cubes of `tracking.voxel_m`'),
    Column(
        'in_one_piece',
        'float64',
        '',
        'Share of its voxels in its largest piece, 0 to 1; pieces are more than 2.5 voxels apart. A small share means '
        'that several things were taken for one, or that something hides the middle of it; its position may lie '
        'between the pieces',
    ),
    Column(
        'views',
        'int64',
        '',
        'Number of its segments, the rows of `segments` with its `object_id`; one image may show several. 0: of each '
        'segment, most samples lie in other objects; then what follows is missing but for `feature`',
    ),
    Column('first_ns', 'int64', 'ns', 'Stamp of the first image with such a segment'),
    Column('last_ns', 'int64', 'ns', 'Stamp of the last one'),
    Column(
        'best_ns',
        'int64',
        'ns',
        'Stamp of the image of its picture: of those of its segments that were kept as pictures, the one of the most '
        "pixels, where one whose box reaches the image's edge counts by half. This and the following are missing where "
        'none was kept',
    ),
    Column(
        'best_whole', 'int64', '', "1 = the box of that segment is inside the image; 0 = it reaches the image's edge"
    ),
    Column('best_area_px', 'int64', 'px', 'Number of pixels of that segment'),
    Column('best_x0_px', 'int64', 'px', 'First column of its box'),
    Column('best_y0_px', 'int64', 'px', 'First row'),
    Column('best_x1_px', 'int64', 'px', 'Last column + 1'),
    Column('best_y1_px', 'int64', 'px', 'Last row + 1'),
    Column('picture', 'string', '', 'The file of that view, beside this table: its segment with the surroundings'),
    Column(
        'feature',
        'list<float32>',
        '',
        'Mean feature of all segments of its track ids, each weighted by its samples, of length 1',
    ),
)

# The folder of pictures of objects, beside their table.
PICTURES = 'objects'

# What grows with each image, by the name of the file, without its ending.
TABLES = {'frames': FRAMES, 'segments': SEGMENTS, 'hierarchies': HIERARCHIES, 'problems': PROBLEMS}


def frame_row(result: FrameResult, images_left_out: int) -> Row:
    """Return the values of `FRAMES`."""
    height, width = result.segmentation.labels.shape
    return (
        result.stamp_ns,
        round(result.latency_ms, 3),
        len(result.segmentation.segments),
        result.segmentation.tau,
        images_left_out,
        width,
        height,
        result.depth_share,
    )


def segment_rows(result: FrameResult) -> list[Row]:
    """Return the values of `SEGMENTS`, one row per segment."""
    segments, named = result.segmentation.segments, result.named
    what = [(None, None)] * len(segments) if named is None else zip(named.names, named.confidence.tolist(), strict=True)
    return [
        (
            result.stamp_ns,
            segment.track_id,
            segment.label,
            segment.segment,
            segment.area_px,
            *segment.box_xyxy,
            *segment.centroid_xy,
            segment.score,
            *class_and_confidence,
            None,  # filled in once the map is known
            *(
                (None,) * 10
                if place is None
                else (*place.position_m, *place.box_min_m, *place.box_max_m, place.valid_share)
            ),
        )
        for segment, class_and_confidence, place in zip(segments, what, result.geometries, strict=True)
    ]


def hierarchy_row(result: FrameResult) -> Row:
    """Return the values of `HIERARCHIES`."""
    hierarchy = result.hierarchy
    lists = (values.tolist() for values in (hierarchy.order, hierarchy.begins, hierarchy.begins_tau))
    return (result.stamp_ns, *hierarchy.grid_hw, hierarchy.tau, *lists)


def check_parquet() -> None:
    """Raise ValueError where Parquet cannot be written."""
    with needed('tables as Parquet', 'analyze', 'take --csv'):
        import pyarrow.parquet  # noqa: F401


def write_table(path: Path, columns: Sequence[Column], rows: Iterable[Row], frame: str = '') -> None:
    """Write a table as CSV or Parquet, by the ending of its name; a missing value is an empty field or null.

    `frame` is that places are in, for the metadata of Parquet; empty: the camera's.
    """
    with writing(path):
        if path.suffix == '.csv':
            names, texts = zip(*((column.name, column.type_name == 'string') for column in columns), strict=True)
            write_csv(path, names, rows, texts)
            return
        import pyarrow
        import pyarrow.parquet

        values = list(zip(*rows, strict=True)) or [()] * len(columns)
        table = pyarrow.table([list(column) for column in values], schema=_schema(columns, frame))
        with path.open('wb') as file:  # Arrow takes no names that are not UTF-8
            pyarrow.parquet.write_table(table, file)


def join_tables(
    parts: Sequence[Path],
    path: Path,
    columns: Sequence[Column],
    frame: str = '',
    filled: Mapping[str, Callable[[Path], Sequence[Any]]] | None = None,
) -> None:
    """Write the rows of several tables of the same ending, one after the other, as one; one part at a time.

    Args:
        parts: their paths.
        path: of the whole.
        columns: of each.
        frame: that places are in, for the metadata of Parquet; empty: the camera's.
        filled: by the name of a column, what returns its values for a part, in place of those that it has.

    Raises:
        ValueError: for a part with another number of rows than values for it.
    """
    places = {column.name: place for place, column in enumerate(columns)}
    with writing(path):
        if path.suffix == '.csv':
            write_table(path, columns, [])
            for part in parts:
                if not filled:
                    append_file(part, path)
                    continue
                _, *rows = read_csv(part)
                for name, values in filled.items():
                    for row, value in zip(rows, check_count(values(part), len(rows), part), strict=True):
                        row[places[name]] = '' if value is None else str(value)
                append_rows(path, rows)
            return
        import pyarrow
        import pyarrow.parquet

        with path.open('wb') as joined, pyarrow.parquet.ParquetWriter(joined, _schema(columns, frame)) as writer:
            for part in parts:
                with part.open('rb') as opened, pyarrow.parquet.ParquetFile(opened) as file:
                    table = file.read()
                for name, values in (filled or {}).items():
                    field = table.schema.field(name)
                    array = pyarrow.array(check_count(values(part), len(table), part), field.type)
                    table = table.set_column(places[name], field, array)
                writer.write_table(table)


def check_count(values: Sequence[Any], count: int, part: Path) -> Sequence[Any]:
    """Return values for the rows of a part's table; raise ValueError unless there are as many."""
    if len(values) != count:
        raise ValueError(f'{part}: expected values for {count} rows, received {len(values)}')
    return values


def merge_tables(parts: Mapping[str, Path], path: Path, columns: Sequence[Column]) -> None:
    """Write the rows of tables of several recordings, by name, as one, with a first column `recording`.

    Columns that the tables of an older version do not have are missing there. Some rows at a time: memory does not grow
    with the tables. Metadata of Parquet names the frame that places are in, where that is the same in all.
    """
    with writing(path):
        has_lists = any('list' in column.type_name for column in columns)
        if path.suffix == '.csv':
            write_table(path, (_RECORDING, *columns), _csv_rows(parts, columns))
            return
        import pyarrow
        import pyarrow.parquet

        schemas = [pyarrow.parquet.read_schema(part).metadata or {} for part in parts.values()]
        frame, *others = {schema.get(FRAME_KEY, b'').decode() for schema in schemas} or {''}
        schema = _schema((_RECORDING, *columns), '' if others else frame)
        with path.open('wb') as merged, pyarrow.parquet.ParquetWriter(merged, schema) as writer:
            for name, part in parts.items():
                with part.open('rb') as opened, pyarrow.parquet.ParquetFile(opened) as file:
                    for batch in file.iter_batches(_BATCH_ROWS_OF_LISTS if has_lists else _BATCH_ROWS):
                        there = batch.schema.names
                        values = [
                            batch.column(field.name)
                            if field.name in there
                            else pyarrow.nulls(batch.num_rows, field.type)
                            for field in list(schema)[1:]
                        ]
                        names = pyarrow.repeat(name, batch.num_rows)
                        writer.write_batch(pyarrow.record_batch([names, *values], schema=schema))


def _csv_rows(parts: Mapping[str, Path], columns: Sequence[Column]) -> Iterator[Row]:
    for name, part in parts.items():
        rows = read_csv(part)
        header = next(rows, [])
        places = [header.index(column.name) if column.name in header else None for column in columns]
        for row in rows:
            if len(row) != len(header):
                raise ValueError(f'{part}: expected a table as CSV, it is damaged: a row of {len(row)} values')
            yield name, *(None if place is None else row[place] for place in places)


def read_rows(path: Path, columns: Sequence[Column], names: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a table, a few at a time in memory.

    Args:
        path: .csv or .parquet.
        columns: of the table.
        names: of the columns that are read, none of lists, in the order of the values of a row; missing values are
            None.
    """
    if path.suffix == '.csv':
        type_of = {column.name: column.type_name for column in columns}
        rows = read_csv(path)
        header = next(rows, [])
        chosen = [(header.index(name), _PYTHON_TYPES[type_of[name]]) for name in names]
        for row in rows:
            try:
                yield tuple(kind(row[index]) if row[index] else None for index, kind in chosen)
            except (ValueError, IndexError) as error:
                raise ValueError(f'{path}: expected a table as CSV, it is damaged: {error}') from error
        return
    import pyarrow.parquet

    with path.open('rb') as opened, pyarrow.parquet.ParquetFile(opened) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(names)):
            yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _arrow_type(name: str) -> Any:
    import pyarrow

    inner = name.removeprefix('list<').removesuffix('>')
    return pyarrow.type_for_alias(name) if inner == name else pyarrow.list_(pyarrow.type_for_alias(inner))


def _schema(columns: Sequence[Column], frame: str = '') -> Any:
    import pyarrow

    fields = [
        pyarrow.field(
            column.name, _arrow_type(column.type_name), metadata={'unit': column.unit, 'meaning': column.meaning}
        )
        for column in columns
    ]
    has_places = any(column.name == _PLACES[0].name for column in columns)
    return pyarrow.schema(fields, metadata={FRAME_KEY: frame.encode()} if frame and has_places else None)
