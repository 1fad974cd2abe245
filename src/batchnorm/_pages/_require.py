"""Optional packages: one check, and one message that says what to install."""

from importlib import import_module

from batchnorm.errors import MissingExtraError

_DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # where pip calls it otherwise


def require(purpose: str, *packages: str, extra: str = "lab") -> None:
    """Check that optional packages are installed, before any time is spent.

    Args:
        purpose: what needs them, as the subject of a sentence.
        packages: the names under which they are imported.
        extra: the extra of this package that installs them.

    Raises:
        MissingExtraError: one is not installed.

    Example:
        >>> require("a report", "json")
        >>> require("a report", "no_such_package")
        Traceback (most recent call last):
        batchnorm.errors.MissingExtraError: a report needs the package no_such_package, which is \
not installed: pip install 'batchnorm[lab]'
    """
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            missing = str(error.name or package).partition(".")[0]
            raise MissingExtraError(
                f"{purpose} needs the package {_DISTRIBUTIONS.get(missing, missing)}, which is "
                f"not installed: pip install 'batchnorm[{extra}]'"
            ) from error
