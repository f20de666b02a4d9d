"""Shows the progress of polling: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from pipeline.polling.progress import Progress
from pipeline.report.wording import duration

_LINE_EVERY = 5.0  # seconds, if the output is not a terminal


@contextlib.contextmanager
def polling_progress(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Yields the function that receives the progress."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("Polling"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with _TwoLines(*columns, console=console) as bar:
        task = bar.add_task("", total=None, visible=False)

        def show(progress: Progress) -> None:
            left = progress.seconds_left
            estimate = "" if left is None or left < 1 or progress.exit else f", about {duration(left)} left"
            state = f"{progress.failed} failed, {progress.pending} pending, {progress.rate:.0f} requests/s{estimate}"
            bar.update(
                task,
                visible=True,
                total=progress.total,
                completed=progress.fulfilled + progress.failed,
                description=state,
            )

        yield show


class _TwoLines(Bar):
    """The bar, and below it the state in words. On one line they would not fit a narrow terminal."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        yield from (Text(task.description, no_wrap=True, overflow="ellipsis") for task in self.tasks if task.visible)


def _lines(console: Console) -> Callable[[Progress], None]:
    last = 0.0

    def show(progress: Progress) -> None:
        nonlocal last
        if progress.exit or time.monotonic() - last >= _LINE_EVERY:
            last = time.monotonic()
            console.print(progress.line, soft_wrap=True)

    return show
