"""A bar chart of ratios as SVG, without a library: one bar a case, the line at 1 is Postfix."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

_ROW = 26
_LABEL = 360
_WIDTH = 420


def ratio_chart(ratios: Mapping[str, float]) -> str:
    """Bars of pymta's figure over Postfix's; above 1 is better."""
    longest = max([*ratios.values(), 1.0])
    scale = _WIDTH / longest
    height = _ROW * len(ratios) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LABEL + _WIDTH + 80}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="20" font-weight="bold">pymta / Postfix, same run, median (above 1 is better)</text>',
    ]
    for number, (name, ratio) in enumerate(ratios.items()):
        top = 34 + number * _ROW
        colour = "#2a7f3f" if ratio >= 1 else "#b03a2e"
        parts += [
            f'<text x="{_LABEL - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{top}" width="{ratio * scale:.1f}" height="{_ROW - 8}" fill="{colour}"/>',
            f'<text x="{_LABEL + ratio * scale + 6:.1f}" y="{top + 14}">{ratio:.2f}</text>',
        ]
    line = _LABEL + scale
    parts.append(
        f'<line x1="{line:.1f}" y1="28" x2="{line:.1f}" y2="{height - 14}" stroke="#444" stroke-dasharray="4 3"/>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"
