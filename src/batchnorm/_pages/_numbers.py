"""Number formatting for reports."""

import math


def number(value: float, digits: int = 3) -> str:
    """Return a number in few signs.

    Args:
        value: the number.
        digits: number of significant digits, unless it is a whole number of thousands.

    Example:
        >>> number(0.25), number(217.3, 2), number(12345), number(4e-06), number(-2e130)
        ('0.25', '217', '12,345', '4e-6', '-2e130')
        >>> number(float("inf")), number(float("nan"))
        ('∞', 'no number')
    """
    if math.isnan(value):
        return "no number"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0 or 1e-3 <= abs(value) < 1e6:  # noqa: PLR2004  (beyond, zeros are hard to count)
        whole = abs(value) >= 10**digits or abs(value) >= 100  # noqa: PLR2004
        return f"{value:,.0f}" if whole else f"{value:.{digits}g}"
    head, _, power = f"{value:.{digits - 1}e}".partition("e")
    head = head.rstrip("0").rstrip(".") if "." in head else head
    return f"{head}e{int(power)}"
