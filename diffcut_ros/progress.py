"""Progress of long work: a bar on a terminal, a line now and then in a file or a pipe."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from diffcut_ros.printable import tell

# Between two lines.
LINE_S = 30

Item = TypeVar('Item')


class _TimeLeft(TimeRemainingColumn):
    """Knows the time left from the first step on; rich's own wants two, of which each may take a minute."""

    def render(self, task: Task) -> Text:
        if not task.completed or not task.total or not task.elapsed or task.time_remaining is not None:
            return super().render(task)
        minutes, seconds = divmod(round(task.elapsed / task.completed * task.remaining), 60)
        hours, minutes = divmod(minutes, 60)
        return Text(f'{hours:d}:{minutes:02d}:{seconds:02d}', style='progress.remaining')


class BarOrLines(Progress):
    """A `rich` progress display on stderr.

    Args:
        columns: between the title with the bar and the time left.
        step: of something longer: its bar goes away at the end, and its first line comes after a tenth of the time.
    """

    def __init__(self, *columns: ProgressColumn, step: bool = False) -> None:
        console = Console(stderr=True)
        title = TextColumn('{task.description}', markup=False)
        columns = title, BarColumn(), *columns, _TimeLeft()
        super().__init__(*columns, console=console, transient=step, disable=not console.is_terminal)
        self._next_s = self.get_time() + (LINE_S / 10 if step else LINE_S)

    def begin(self, text: str) -> None:
        """Say what begins, where there is no terminal: the first line about it comes after half a minute only."""
        if self.disable:
            tell(text)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Show changes of a task, see `Progress.update`."""
        super().update(task_id, **changes)
        now_s = self.get_time()
        if self.disable and now_s >= self._next_s:
            self._next_s = now_s + LINE_S
            task = next(task for task in self.tasks if task.id == task_id)
            columns = [column(task) for column in self.columns if not isinstance(column, BarColumn)]
            self.console.print(*columns, 'left', highlight=False, soft_wrap=True)


def track(items: Iterable[Item], count: int, title: str) -> Iterator[Item]:
    """Yield items, and show how many of them are done; where there is a bar, it goes away at the end."""
    with BarOrLines(MofNCompleteColumn(), step=True) as progress:
        task = progress.add_task(title, total=count)
        for item in items:
            yield item
            progress.update(task, advance=1)
