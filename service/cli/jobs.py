"""Commands about jobs, and following one."""

import json
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import JsonOption, LimitOption, connected, fail, show_json, table, whole_id
from service.cli.job_words import doing

if TYPE_CHECKING:
    from service.client.client import Client
    from service.client.types import JobJson

app = typer.Typer()

Watch = Annotated[bool, typer.Option("--watch", help="Follow the job until it ends.")]
JobArgument = Annotated[str, typer.Argument(help="The job's id, or the first characters of it.")]


@app.command()
def jobs(
    subject: Annotated[str | None, typer.Option(help="Only this person's.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List the newest jobs."""
    with connected() as api:
        found = list(islice(api.list_jobs(subject=subject, state=state), limit))
    if as_json:
        show_json(found)
        return
    rows = table("job", "stage", "of", "state", "progress", "left", "made (UTC)")
    for job in found:
        left = "" if job["eta_seconds"] is None else _clock(job["eta_seconds"])
        made = job["created_at"][:16].replace("T", " ")
        rows.add_row(
            job["id"][:8],
            job["stage"],
            job["subject"] or "",
            doing(job),
            f"{100 * job['progress']:.0f} %",
            left,
            made,
        )
    rows.show("There are no such jobs.")


@app.command()
def watch(job: JobArgument, as_json: JsonOption = False) -> None:
    """Follow a job until it ends; Ctrl-C leaves it alone. With --json, an event a line."""
    with connected() as api:
        _watch(api, whole_id(job, api.list_jobs(), "job"), as_json)


@app.command()
def cancel(job: JobArgument, as_json: JsonOption = False) -> None:
    """Cancel a job: a queued one at once, a running one at its next batch."""
    with connected() as api:
        found = api.cancel_job(whole_id(job, api.list_jobs(), "job"))
    _say(
        found,
        f"The {found['stage']} job {'stops at its next batch' if found['state'] == 'running' else 'is cancelled'}.",
        as_json,
    )


@app.command()
def retry(job: JobArgument, watch: Watch = False, as_json: JsonOption = False) -> None:
    """Do a failed or cancelled job again, as a new one."""
    with connected() as api:
        accepted(api, api.retry_job(whole_id(job, api.list_jobs(), "job")), watch, as_json)


@app.command()
def metrics(job: JobArgument, as_json: JsonOption = False) -> None:
    """Show a job's epochs and, once it has succeeded, its errors beside the baselines."""
    with connected() as api:
        found = api.get_job_metrics(whole_id(job, api.list_jobs(), "job"))
    if as_json:
        show_json(found)
        return
    rows = table("epoch", "train loss", "val loss", "learning rate", "seconds")
    for epoch in found["epochs"]:
        losses = [_number(epoch[name], 4) for name in ("train_loss", "val_loss")]
        rows.add_row(str(epoch["epoch"]), *losses, f"{epoch['learning_rate']:g}", f"{epoch['epoch_time']:.2f}")
    rows.show(f"The job is {found['state']} and has finished no epoch yet.")
    if found["evaluation"] and found["evaluation"]["test_workouts"]:
        from rich.console import Console

        from service.cli.demo_show import error_table

        Console().print(error_table({"this model": found["evaluation"]}))


def accepted(api: "Client", job: "JobJson", watch: bool, as_json: bool) -> None:
    """Say that a job was queued, or follow it."""
    if watch:
        _watch(api, job["id"], as_json)
    else:
        _say(
            job,
            f"The {job['stage']} job {job['id']} is {job['state']}. Follow it: stagewise watch {job['id'][:8]}",
            as_json,
        )


def _say(job: "JobJson", sentence: str, as_json: bool) -> None:
    if as_json:
        show_json(job)
    else:
        typer.echo(sentence)


def _watch(api: "Client", job_id: str, as_json: bool) -> None:
    """Ends with status 1 unless the job succeeds."""
    try:
        if as_json:
            _print_events(api.watch(job_id))
        else:
            _show_progress(api, job_id)
    except KeyboardInterrupt:
        typer.echo(f"\nThe job goes on. Follow it again: stagewise watch {job_id[:8]}", err=True)
        raise typer.Exit(130) from None
    job = api.get_job(job_id)
    decision = (job["result"] or {}).get("decision") or {}
    if job["state"] != "succeeded":
        fail(f"The {job['stage']} job {job['state']}{': ' + job['error']['message'] if job['error'] else ''}")
    if not as_json:
        typer.echo(decision.get("reason") or f"The {job['stage']} job succeeded.")


def _print_events(messages: Iterable[tuple[int | None, str, Any]]) -> None:
    for _, name, content in messages:
        print(json.dumps({"event": name, **content} if name == "progress" else content), flush=True)


def _show_progress(api: "Client", job_id: str) -> None:
    from rich.console import Console

    from service.cli.progress import progress_bars

    losses = ""
    with progress_bars(Console(stderr=True)) as bars:
        bar = bars.add_task("job", total=1.0, state="")
        for _, name, content in api.watch(job_id):
            if name == "progress":
                left = "" if content["eta_seconds"] is None else f"{_clock(content['eta_seconds'])} left"
                state = "  ".join(part for part in (doing(content), losses, left) if part)
                bars.update(bar, description=content["stage"], completed=content["progress"], state=state)
            elif content.get("epoch"):
                epoch = content["epoch"]
                train, val = (_number(epoch[name], 3) for name in ("train_loss", "val_loss"))
                losses = f"epoch {epoch['epoch']}: loss {train}, val {val}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
