"""The commands' output: log lines on the terminal and in a file, and a progress bar that does not disturb them."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from hrmodel.offline.errors import USER_ERRORS, Interrupted

log = logging.getLogger("hrmodel")
console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


class _ConsoleHandler(logging.Handler):
    """Prints above the progress bar, where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        console.print(prefix + record.getMessage())


@contextmanager
def logging_to(path: Path | None) -> Iterator[None]:
    """Print what `hrmodel` logs; with a path, append it to that file too, and there also the error that ended it."""
    handlers: list[logging.Handler] = [_ConsoleHandler(logging.INFO)]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(file)
    before = log.level, log.propagate
    log.setLevel(logging.DEBUG)
    log.propagate = False  # a host's own logging would print everything twice
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    except Exception as error:
        expected = isinstance(error, (*USER_ERRORS, Interrupted))
        log.debug("ended by %s: %s", type(error).__name__, error, exc_info=not expected)
        raise
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
        log.setLevel(before[0])
        log.propagate = before[1]


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[float], None]]:
    """A bar that takes the share done, 0..1; on a terminal only, and gone afterwards."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)
