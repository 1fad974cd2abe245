"""Command ``batchnorm``, also as ``python -m batchnorm``."""

import sys

from batchnorm._pages import require
from batchnorm.errors import MissingExtraError


def main() -> None:
    """Run the command line, or say in one line how to install it."""
    try:
        require("the command line", "typer", "rich")
    except MissingExtraError as error:
        sys.stderr.write(f"batchnorm: {error}\n")
        raise SystemExit(2) from None
    try:
        from batchnorm.cli import run
    except KeyboardInterrupt:
        sys.stderr.write("batchnorm: interrupted before it began\n")
        raise SystemExit(130) from None
    raise SystemExit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
