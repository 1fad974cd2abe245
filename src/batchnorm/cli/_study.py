"""``batchnorm study``: list the studies and run one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from batchnorm.lab import Options, Study

app = typer.Typer()


@app.callback(invoke_without_command=True)
def study(context: typer.Context) -> None:
    """List and run the lab's studies."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_studies() -> None:
    """List the studies, their questions and the claims that they judge."""
    from batchnorm.cli._tables import studies_table
    from batchnorm.lab import STUDIES

    studies_table(STUDIES.values())


@app.command("run")
def run_study(
    name: Annotated[
        str, typer.Argument(help="Which study; see `batchnorm study list`. Or all of them: all.")
    ],
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
        Path | None, typer.Option(help="Run folder (default: runs/STUDY-TASK-SCALE, or runs/all).")
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
    from batchnorm import lab
    from batchnorm.cli._study_options import setting_of, user_model_of
    from batchnorm.lab import ledger, report

    study = None if name == ledger.ALL else lab.get(name)
    report.require()
    size = lab.scale(scale, quick=quick)
    own = user_model_of(model, data)
    options = lab.Options(
        out=out or lab.default_folder(study, task, size, own),
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
    if study is None:
        _run_all(options)
    else:
        _run_one(study, options)


def _run_one(study: "Study", options: "Options") -> None:
    from batchnorm import lab
    from batchnorm.cli._progress import following
    from batchnorm.cli._tables import say, verdicts_table
    from batchnorm.lab import report

    folder = options.out
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


def _run_all(options: "Options") -> None:
    from batchnorm.cli._progress import counting
    from batchnorm.cli._tables import claims_table, say
    from batchnorm.lab import ledger
    from batchnorm.lab.report import _claims_page as page

    ended = []
    with counting("trials") as tell:
        for one in ledger.run(options, tell):
            path = page.write(one.ledger, [one.part])
            ended.append(one)
    for one in ended:
        for damage in one.redone:
            say(f"Done again because it was damaged: {one.part.study.name}/{damage}")
    claims_table(ended[-1].ledger)
    say(f"Page: {path}")
