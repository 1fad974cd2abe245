"""``batchnorm study``: list the studies and run one."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.callback(invoke_without_command=True)
def study(context: typer.Context) -> None:
    """List and run the lab's studies."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_studies() -> None:
    """List the studies, their questions and the claims that they judge."""
    from ..lab import STUDIES
    from ._tables import studies_table

    studies_table(STUDIES.values())


@app.command("run")
def run_study(
    name: Annotated[str, typer.Argument(help="Which study; see `batchnorm study list`.")],
    task: Annotated[
        str, typer.Option(help="What to train on: digits, mnist or fashion-mnist.")
    ] = "digits",
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder with the four IDX files; left out, mnist is downloaded."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of seeds.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps of each trial.")] = None,
    device: Annotated[str, typer.Option(help="PyTorch device, such as cpu or cuda.")] = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="Run folder (default: runs/STUDY-TASK, with -quick).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small grid: minutes.")] = False,
    jobs: Annotated[
        int | None, typer.Option(help="Worker processes (default: one for each core).")
    ] = None,
) -> None:
    """Run a study and write its report; the same command again goes on where it stopped."""
    from .. import lab
    from ..lab import report
    from ._progress import following
    from ._tables import say, verdicts_table

    study = lab.get(name)
    report.require()
    folder = out or Path("runs") / f"{name}-{task}{'-quick' if quick else ''}"
    options = lab.Options(
        out=folder,
        task=task,
        data_dir=data_dir,
        quick=quick,
        seeds=seeds,
        steps=steps,
        device=device,
        jobs=jobs,
    )
    with following(study.title) as tell:
        outcome = lab.run(study, options, tell)
    if outcome.trained == 0:
        say(f"The run in {folder} was finished already; only its report is written anew.")
    for damage in outcome.redone:
        say(f"Done again because it was damaged: {damage}")
    results = lab.load(folder)
    path = report.build(results, outcome.folder.report)
    verdicts_table(study.findings(results))
    say(f"Report: {path}")
