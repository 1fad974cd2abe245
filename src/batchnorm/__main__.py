"""The command ``batchnorm``, also as ``python -m batchnorm``."""

import sys


def main() -> None:
    """Run the command line, or say in one line how to install it."""
    try:
        from .cli import run
    except ImportError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.stderr.write(
            f"batchnorm: the command line needs the package {error.name}, which is not installed: "
            "pip install 'batchnorm[lab]'\n"
        )
        raise SystemExit(2) from None
    raise SystemExit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
