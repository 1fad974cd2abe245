"""The command ``batchnorm``, also as ``python -m batchnorm``."""

import sys


def main() -> None:
    """Run the command line, or say in one line how to install it."""
    try:
        import rich  # noqa: F401  (the commands import it late, when a hint would come too late)

        from .cli import run
    except ImportError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in {"typer", "rich"}:
            raise
        sys.stderr.write(
            f"batchnorm: the command line needs the package {missing}, which is not installed: "
            "pip install 'batchnorm[lab]'\n"
        )
        raise SystemExit(2) from None
    raise SystemExit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
