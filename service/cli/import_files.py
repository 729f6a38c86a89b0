"""`stagewise import`: from files to a dataset, through the API like any other client."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

from rich.console import Console
from rich.progress import Progress

from service.cli.job_words import doing
from service.cli.progress import progress_bars
from service.client.client import Client, JobFailed, Json, NoAnswer, RequestFailed
from service.client.types import DatasetJson, DatasetReportJson
from service.settings import Settings


class ImportFailed(Exception):
    """There is no ready dataset; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The dataset and its whole report, as the API shows them."""

    dataset: DatasetJson
    report: DatasetReportJson

    @property
    def failure(self) -> str | None:
        """Why the dataset is not ready; None when it is."""
        if self.dataset["state"] == "ready":
            return None
        error = self.dataset["error"]
        return f"The import failed: {error['message']}" if error else f"The dataset is {self.dataset['state']}."


def import_files(paths: Sequence[Path], query: Json, settings: Settings, *, quiet: bool = False) -> Imported:
    """Upload files and folders as one dataset and wait for its import, ready or failed; unless `quiet`, standard error
    shows how far it is.

    Raises ImportFailed when there is nothing to upload, the API refuses it, or does not answer.
    """
    try:
        with (
            packed(paths) as upload,
            Client(settings.api_url, key_of(settings)) as client,
            progress_bars(Console(stderr=True), quiet=quiet) as bars,
        ):
            return _import(client, upload, {"name": name_of(paths)} | query, bars)
    except NoAnswer as error:
        start = "Start it with `stagewise up`, or say with STAGEWISE_URL where it is."
        raise ImportFailed(f"{error} ({settings.api_url}). {start}") from error
    except RequestFailed as error:
        raise ImportFailed(str(error)) from error
    except OSError as error:
        raise ImportFailed(f"{error.filename or 'The upload'} cannot be read: {error.strerror}.") from error


def _import(client: Client, upload: Path, query: Json, bars: Progress) -> Imported:
    sending = bars.add_task("upload", total=upload.stat().st_size, state="")
    accepted = client.upload_dataset(upload, on_sent=lambda sent: bars.update(sending, completed=sent), **query)
    following = bars.add_task("import", total=1.0, state="queued")
    with suppress(JobFailed):  # the dataset says why, and its report shows each file
        client.wait(accepted["job_id"], lambda job: bars.update(following, completed=job["progress"], state=doing(job)))
    return Imported(dataset=client.get_dataset(accepted["id"]), report=client.get_dataset_report(accepted["id"]))


def key_of(settings: Settings) -> str:
    """The key to ask with: STAGEWISE_API_KEY, else the one in the key file. Raises ImportFailed."""
    if settings.api_key is not None:
        return settings.api_key.get_secret_value().strip()
    file = settings.key_file
    try:
        return file.read_text().strip()
    except OSError as error:
        way = "`stagewise up` makes it; set STAGEWISE_STATE_DIR to where it ran, or STAGEWISE_API_KEY to a key."
        raise ImportFailed(f"There is no API key in {file} ({error.strerror}). {way}") from error


def name_of(paths: Sequence[Path]) -> str:
    """The default name of a dataset of these files."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    name = "".join(character if character.isprintable() else "?" for character in paths[0].resolve().name)
    return name[: 200 - len(more)] + more


@contextmanager
def packed(paths: Sequence[Path]) -> Iterator[Path]:
    """The one file to upload: a single file as it is; several, or folders with all below them, in a stored zip.

    Hidden files and folders are left out unless they are named themselves. Raises ImportFailed.
    """
    for path in paths:
        if not path.exists():
            raise ImportFailed(f"There is no file {path}.")
    if len(paths) == 1 and paths[0].is_file():
        yield paths[0]
        return
    members = dict(_members(paths))
    if not members:
        raise ImportFailed(f"There are no files in {', '.join(map(str, paths))}.")
    with tempfile.TemporaryDirectory(prefix="stagewise-import-") as folder:
        target = Path(folder) / "upload.zip"
        with ZipFile(target, "w", ZIP_STORED, strict_timestamps=False) as archive:
            for name, file in members.items():
                archive.write(file, name)
        yield target


def _members(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Each file with its name in the zip; equal names get a number."""
    taken: set[str] = set()
    for path in paths:
        top = name = path.resolve().name
        while top in taken:
            top = f"{len(taken)}-{name}"
        taken.add(top)
        if path.is_file():
            yield top, path
            continue
        for file in sorted(path.rglob("*")):
            place = file.relative_to(path)
            if file.is_file() and not any(part.startswith(".") for part in place.parts):
                yield f"{top}/{place.as_posix()}", file
