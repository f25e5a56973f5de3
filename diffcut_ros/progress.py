"""Progress of long work, for people: a bar on a terminal, a line now and then in a file or a pipe."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn

# Between two lines.
LINE_S = 30


class BarOrLines(Progress):
    """A `rich` progress display on stderr.

    Args:
        columns: between the title with the bar and the time left.
    """

    def __init__(self, *columns: ProgressColumn) -> None:
        console = Console(stderr=True)
        title = TextColumn('{task.description}', markup=False)
        columns = title, BarColumn(), *columns, TimeRemainingColumn()
        super().__init__(*columns, console=console, disable=not console.is_terminal)
        self._said_s = self.get_time()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Show changes of a task, see `Progress.update`."""
        super().update(task_id, **changes)
        now_s = self.get_time()
        if self.disable and now_s - self._said_s >= LINE_S:
            self._said_s = now_s
            task = next(task for task in self.tasks if task.id == task_id)
            columns = [column(task) for column in self.columns if not isinstance(column, BarColumn)]
            self.console.print(*columns, 'left', highlight=False, soft_wrap=True)
