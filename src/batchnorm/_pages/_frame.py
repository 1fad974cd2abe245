"""The frame of a page: head, style, colours and footer, around what a template fills in."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from batchnorm._pages import _palette
from batchnorm._pages._require import require
from batchnorm._pages._version import own_version


def render(template: str, parts: Mapping[str, str] | None = None, **values: Any) -> str:
    """Return a page.

    Args:
        template: extends the template ``frame`` and fills its blocks.
        parts: other templates that it imports, by name.
        values: what the template names.

    Raises:
        MissingExtraError: Jinja is not installed.
    """
    require("a page", "jinja2")
    import jinja2

    frame = resources.files(__package__).joinpath("frame.html.j2").read_text()
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"frame": frame, **(parts or {})}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(template).render(
        light=_palette.LIGHT,
        dark=_palette.DARK,
        version=own_version(),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **values,
    )
