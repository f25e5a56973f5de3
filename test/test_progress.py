from io import StringIO

from rich.console import Console
from rich.progress import MofNCompleteColumn

from diffcut_ros.progress import BarOrLines


def test_the_time_left_is_known_after_the_first_of_a_few_long_steps():
    progress = BarOrLines(MofNCompleteColumn())
    now_s = 0.0
    progress.get_time = lambda: now_s
    task = progress.add_task('slow', total=5)
    output = StringIO()

    def line() -> str:
        console = Console(file=output, width=100)
        output.seek(0)
        output.truncate()
        console.print(progress.get_renderable())
        return output.getvalue()

    assert '0/5 -:--:--' in line()
    now_s = 70.0
    progress.update(task, advance=1)
    assert '1/5 0:04:40' in line()
    now_s = 140.0
    progress.update(task, advance=1)
    assert '2/5 0:03:30' in line()
