"""A table or curve as one HTML page that needs no network."""

from diffcut_ros.evaluation.tables.rows import Cell
from diffcut_ros.evaluation.tables.table import Table
from diffcut_ros.missing import needed


def check_plotly() -> None:
    """Raise ValueError where nothing can be drawn."""
    with needed('plots', 'evaluate'):
        import plotly  # noqa: F401


def plot(table: Table, title: str, cells: list[Cell]) -> str:
    """Return the page: bars of published and measured figures, or a line per row and data set.

    Args:
        table: what the cells are of.
        title: of the plot.
        cells: in the order of the rows.
    """
    # Only here: importing plotly takes time.
    import plotly.graph_objects as go

    if table.x:
        traces = [go.Scatter(name=name, x=x, y=y, mode='lines+markers') for name, x, y in _lines(table, cells)]
    else:
        axis = [[cell.dataset for cell in cells], [cell.row for cell in cells]]
        traces = [
            go.Bar(name=name, x=axis, y=[getattr(cell, name) for cell in cells]) for name in ('published', 'measured')
        ]
    lines = title.split('; ')  # one alone may be wider than a page
    layout = {
        'title': {'text': '<br>'.join(lines), 'font': {'size': 14}, 'y': 0.97, 'yanchor': 'top'},
        'margin': {'t': 60 + 20 * len(lines)},
        'xaxis': {'title': table.x},
        'yaxis': {'title': table.y or table.figure},
    }
    return go.Figure(traces, layout).to_html(include_plotlyjs=True, full_html=True)


def _lines(table: Table, cells: list[Cell]) -> list[tuple[str, list[float], list[float]]]:
    """Return name, x and y of the lines: one of each cell that is a curve itself, else one of a row's cells."""
    points: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        name = f'{cell.row}, {cell.dataset}'
        if cell.curve:
            points[f'{name}: {cell.measured:.{table.decimals}f}'] = list(cell.curve)
        elif cell.x is not None:
            points.setdefault(name, []).append((cell.x, cell.measured))
    return [(name, *map(list, zip(*line, strict=True))) for name, line in points.items()]
