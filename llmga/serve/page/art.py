"""The little pictures on the cards of the welcome, drawn here; what a card does is in `composer.js`."""

_SKY, _HILL, _NEAR, _SUN, _INK, _PAPER = "#bcd7ff", "#5b8c6b", "#3f6f57", "#ffb74d", "#5b5bd6", "#ffffff"


def _landscape(x: float, y: float, width: float, height: float) -> str:
    """A sun over two hills, cut to its frame."""
    name = f"art-{x:.0f}-{y:.0f}-{width:.0f}"
    return (
        f'<clipPath id="{name}"><rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/></clipPath>'
        f'<g clip-path="url(#{name})"><rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{_SKY}"/>'
        f'<circle cx="{x + width * 0.72}" cy="{y + height * 0.32}" r="{height * 0.15}" fill="{_SUN}"/>'
        f'<ellipse cx="{x + width * 0.25}" cy="{y + height * 1.05}" rx="{width * 0.5}" ry="{height * 0.5}" '
        f'fill="{_HILL}"/><ellipse cx="{x + width * 0.85}" cy="{y + height * 1.15}" rx="{width * 0.55}" '
        f'ry="{height * 0.5}" fill="{_NEAR}"/></g>'
    )


def _lines(path: str, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<path d="{path}" fill="none" stroke="{_INK}" stroke-width="3" stroke-linecap="round" '
        f'stroke-linejoin="round"{dashed}/>'
    )


def _drawn(inside: str) -> str:
    return f'<svg viewBox="0 0 128 72" aria-hidden="true">{inside}</svg>'


# card -> its picture
ART: dict[str, str] = {
    "say": _drawn(
        f'<path d="M6 12h44a6 6 0 0 1 6 6v18a6 6 0 0 1-6 6H24L12 52V42H6z" fill="{_INK}"/>'
        f'<path d="M16 22h30M16 31h20" stroke="{_PAPER}" stroke-width="3" stroke-linecap="round"/>'
        + _landscape(66, 16, 56, 42)
    ),
    "upload": _drawn(
        _landscape(34, 20, 60, 44) + f'<circle cx="94" cy="22" r="15" fill="{_INK}"/>'
        f'<path d="M94 30V15M87 21l7-7 7 7" fill="none" stroke="{_PAPER}" stroke-width="3" stroke-linecap="round" '
        'stroke-linejoin="round"/>'
    ),
    "fill": _drawn(
        _landscape(28, 8, 72, 56)
        + f'<circle cx="58" cy="38" r="17" fill="{_PAPER}" fill-opacity=".75"/>'
        + _lines("M58 21a17 17 0 1 1 0 34a17 17 0 1 1 0-34", "5 5")
        + f'<path d="M58 28l2.8 7.2 7.2 2.8-7.2 2.800L58 48l-2.8-7.200L48 38l7.2-2.800z" fill="{_SUN}"/>'
    ),
    "larger": _drawn(
        f'<rect x="18" y="5" width="92" height="62" rx="6" fill="{_SKY}" fill-opacity=".35"/>'
        + _lines("M24 5h80a6 6 0 0 1 6 6v50a6 6 0 0 1-6 6H24a6 6 0 0 1-6-6V11a6 6 0 0 1 6-6", "6 6")
        + _landscape(42, 19, 44, 34)
        + _lines("M34 36h-9m4-5l-5 5 5 5M94 36h9m-4-5l5 5-5 5")
    ),
    "story": _drawn(
        f'<path d="M64 18C50 8 30 8 14 12v48c16-4 36-4 50 6 14-10 34-10 50-6V12C98 8 78 8 64 18z" fill="{_PAPER}" '
        f'stroke="{_INK}" stroke-width="3" stroke-linejoin="round"/>'
        + _landscape(22, 20, 34, 22)
        + _lines("M64 19v46M24 51q14-2 30 2M74 27q14-5 30-5M74 37q14-5 30-5M74 47q14-5 30-5")
    ),
}
