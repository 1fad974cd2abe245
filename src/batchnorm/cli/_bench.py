"""``batchnorm bench``: ours and its peers side by side on this machine."""

from pathlib import Path
from typing import Annotated

import typer

Words = list[str] | None


def bench(
    cases: Annotated[
        Words,
        typer.Option(help="sites, tiny, relu, add-relu, large or step; repeat for several."),
    ] = None,
    direction: Annotated[
        Words, typer.Option(help="forward, backward, forward-backward or inference.")
    ] = None,
    layout: Annotated[Words, typer.Option(help="contiguous or channels_last.")] = None,
    dtype: Annotated[Words, typer.Option(help="float32 or bfloat16.")] = None,
    provider: Annotated[
        Words, typer.Option(help="torch, compile or onednn; ours is always timed.")
    ] = None,
    level: Annotated[
        str, typer.Option(help="module, or operator for the kernels alone.")
    ] = "module",
    threads: Annotated[
        int | None, typer.Option(help="Number of threads (default: PyTorch's choice).")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Number of rounds (default: 9).")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few sites and rounds, float32, no compiler: a minute.")
    ] = False,
    compile_step: Annotated[
        bool, typer.Option("--compile-step", help="Compile the training step too: minutes.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write every measurement here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the page here.")] = None,
) -> None:
    """Time ours beside torch, torch.compile and oneDNN; an option left out means all."""
    from batchnorm import bench as benchmark
    from batchnorm.cli._bench_tables import print_benchmark
    from batchnorm.cli._progress import counting
    from batchnorm.cli._tables import say

    settings = benchmark.choose(
        groups=cases or (),
        directions=direction or (),
        layouts=layout or (),
        dtypes=dtype or (),
        providers=provider or (),
        level=level,
        threads=threads,
        rounds=rounds,
        quick=quick,
        compile_step=compile_step,
    )
    output = benchmark.Output(json, html)
    output.check()
    with counting("cells") as tell:
        found = benchmark.run(settings, lambda step: tell(step.done, step.total, step.label))
    written = output.write(found)
    print_benchmark(found)
    for path in written:
        say(f"Written: {path}")
