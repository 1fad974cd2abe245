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
        str | None,
        typer.Option(help="What to train on, such as digits, mnist or cifar10."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder with the files of the task; left out, they are downloaded."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of seeds.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of each trial, where it takes steps.")
    ] = None,
    device: Annotated[str, typer.Option(help="PyTorch device, such as cpu or cuda.")] = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="Run folder (default: runs/STUDY-TASK-SCALE).")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="quick, default, or paper for the paper's own settings.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Another value of a setting, or several of one that is swept: rate=0.1,1."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Your own model, as package.module:factory.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Your own data for it, as package.module:loader.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The same as --scale quick.")] = False,
    jobs: Annotated[
        int | None, typer.Option(help="Worker processes (default: one for each core).")
    ] = None,
) -> None:
    """Run a study and write its report; the same command again goes on where it stopped."""
    from .. import lab
    from ..lab import report
    from ._progress import following
    from ._study_options import own_of, setting_of
    from ._tables import say, verdicts_table

    study = lab.get(name)
    report.require()
    size = lab.scale(scale, quick=quick)
    own = own_of(model, data)
    task = task or (study.tasks[0] if own is None else None)
    folder = out or Path("runs") / "-".join(
        part for part in (name, task or "own", size) if part != "default"
    )
    options = lab.Options(
        out=folder,
        task=task,
        data_dir=data_dir,
        scale=size,
        seeds=seeds,
        steps=steps,
        changes=dict(map(setting_of, changes or [])),
        own=own,
        device=device,
        jobs=jobs,
    )
    with following(study.title) as tell:
        outcome = lab.run(study, options, tell)
    if outcome.done == 0:
        say(f"The run in {folder} was finished already; only its report is written anew.")
    for damage in outcome.redone:
        say(f"Done again because it was damaged: {damage}")
    results = lab.load(folder)
    path = report.build(results, outcome.folder.report)
    verdicts_table(study.findings(results))
    say(f"Report: {path}")
