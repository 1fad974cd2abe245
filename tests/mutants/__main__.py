"""Plants every bug of the table, and fails where one is not noticed: ``make mutants``."""

import argparse
import sys
import tempfile
from pathlib import Path

from mutants.planting import CAUGHT, ROOT, House, Result, try_all
from mutants.table import MUTANTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants with one of these in their name")
    parser.add_argument("--jobs", type=int, default=1, help="copies of the house (default: 1)")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if not options.words or any(w in m.name for w in options.words)]
    if not chosen or options.jobs < 1:
        parser.error("no mutant has such a name, or --jobs is not positive")
    with tempfile.TemporaryDirectory() as folder:
        houses = [House.copy(ROOT, Path(folder) / str(number)) for number in range(options.jobs)]
        check_copy(houses[0])
        results = try_all(chosen, houses, lambda result: print(row(result), flush=True))
    failed = [result for result in results if result.verdict != CAUGHT]
    print(f"\n{len(results)} mutants, {len(results) - len(failed)} caught")
    for result in failed:
        print(f"{result.verdict}: {result.mutant.name} ({result.detail})")
    return 1 if failed else 0


def row(result: Result) -> str:
    return f"{result.verdict:8}  {result.mutant.name:58}  {result.place}"


def check_copy(house: House) -> None:
    """Make sure that it is the copy that is tested."""
    _, found = house.run(["-c", "import batchnorm; print(batchnorm.__file__)"])
    if not Path(found.strip()).is_relative_to(house.root.resolve()):
        raise SystemExit(f"the copy is not what Python imports: {found}")


if __name__ == "__main__":
    sys.exit(main())
