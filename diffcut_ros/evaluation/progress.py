"""Progress of an evaluation: images done, rate, time left, the figure so far."""

from rich.progress import MofNCompleteColumn, TextColumn

from diffcut_ros.evaluation.totals import Totals
from diffcut_ros.progress import BarOrLines


class Bar:
    """A bar on the terminal, a line now and then in a file or a pipe. A context manager.

    Args:
        title: of what is evaluated.

    Attributes:
        headline: the figure so far, see `Totals.headline`.
    """

    def __init__(self, title: str) -> None:
        self._progress = BarOrLines(
            MofNCompleteColumn(),
            TextColumn('{task.fields[rate]}'),
            TextColumn('{task.fields[figure]}'),
        )
        self._task = self._progress.add_task(title, total=None, figure='', rate='')
        self._begun: tuple[int, float] | None = None
        self.headline = ''

    def __enter__(self) -> 'Bar':
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, done: int, images: int, totals: Totals) -> None:
        """Show that so many images of all are done; see `evaluate`."""
        now = self._progress.get_time()
        # Not those of the evaluation that is resumed.
        self._begun = self._begun or (done, now)
        rate_hz = (done - self._begun[0]) / max(1e-3, now - self._begun[1])
        self.headline = totals.headline()
        self._progress.update(
            self._task, total=images, completed=done, figure=self.headline, rate=f'{rate_hz:.2f} images/s'
        )
