"""What every page has around its content: head, colours, footer."""

from datetime import UTC, datetime
from importlib import resources
from typing import Any

from ... import __version__
from . import palette


def render(template: str, **values: Any) -> str:
    """Return a page.

    Args:
        template: Extends the template ``frame`` and fills its blocks; ``effects`` draws effects.
        values: What the template names.
    """
    import jinja2

    here = resources.files(__package__)
    parts = {name: here.joinpath(f"{name}.html.j2").read_text() for name in ("frame", "effects")}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(parts),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(template).render(
        light=palette.LIGHT,
        dark=palette.DARK,
        version=__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **values,
    )
