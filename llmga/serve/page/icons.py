"""The icons of the page, drawn here: lines of 24 x 24 that take the colour of the text beside them."""

# name -> what stands between <svg> and </svg>
_LINES = {
    "similar": '<rect x="3" y="3" width="13" height="13" rx="2"/>'
    '<path d="M20 8v10a3 3 0 0 1-3 3H8M9.5 6.5v6M6.5 9.5h6"/>',
    "change": '<path d="M4 20l1-4L16 5l3 3L8 19l-4 1zM13.5 7.5l3 3M19 14v4M17 16h4"/>',
    "mark": '<path d="M4 8V6a2 2 0 0 1 2-2h2M16 4h2a2 2 0 0 1 2 2v2M4 16v2a2 2 0 0 0 2 2h2"/>'
    '<path d="M21 11l-7.5 7.5-3.5 1 1-3.5L18.5 8.5a1.8 1.8 0 0 1 2.5 2.5z"/>',
    "larger": '<rect x="8" y="8" width="8" height="8" rx="1"/>'
    '<path d="M3 8V3h5M16 3h5v5M21 16v5h-5M8 21H3v-5M3 3l3 3M21 3l-3 3M21 21l-3-3M3 21l3-3"/>',
    "look": '<path d="M4 5h16v11h-9l-4.5 4v-4H4z"/><path d="M10 9a2 2 0 1 1 2.6 1.9c-.4.2-.6.5-.6 1M12 13.6v.1"/>',
    "download": '<path d="M12 4v11M7.5 11l4.5 4.5L16.5 11M4 19.5h16"/>',
    "retry": '<path d="M20 12a8 8 0 1 1-2.5-5.8M20 3v4.5h-4.5"/>',
    "undo": '<path d="M8 4L3.5 8.5 8 13M4 8.5h10a6 6 0 0 1 0 12h-4"/>',
    "bring back": '<path d="M16 4l4.5 4.5L16 13M20 8.5H10a6 6 0 0 0 0 12h4"/>',
    "edit": '<path d="M4 20l1-4L16 5l3 3L8 19l-4 1zM13.5 7.5l3 3"/>',
    "close": '<path d="M5 5l14 14M19 5L5 19"/>',
    "previous": '<path d="M15 4l-8 8 8 8"/>',
    "next": '<path d="M9 4l8 8-8 8"/>',
    "zoom in": '<circle cx="10.5" cy="10.5" r="6.5"/><path d="M15.5 15.5L21 21M10.5 7.5v6M7.5 10.5h6"/>',
    "zoom out": '<circle cx="10.5" cy="10.5" r="6.5"/><path d="M15.5 15.5L21 21M7.5 10.5h6"/>',
    "fit": '<path d="M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5"/>',
    "compare": '<rect x="3" y="4" width="18" height="16" rx="2"/><path d="M12 2v20M9 9l-3 3 3 3M15 9l3 3-3 3"/>',
    "versions": '<rect x="3" y="4" width="8" height="7" rx="1"/><rect x="13" y="4" width="8" height="7" rx="1"/>'
    '<rect x="3" y="13" width="8" height="7" rx="1"/><rect x="13" y="13" width="8" height="7" rx="1"/>',
    "copy": '<rect x="8" y="8" width="12" height="12" rx="2"/>'
    '<path d="M16 8V6a2 2 0 0 0-2-2H6a2 2 0 0 0-2 2v8a2 2 0 0 0 2 2h2"/>',
    "go to": '<path d="M4 5h16v11h-9l-4.5 4v-4H4zM12 8v5M9.5 10.5L12 13l2.5-2.5"/>',
    "picture": '<rect x="3" y="4" width="18" height="16" rx="2"/><circle cx="8.5" cy="9" r="1.5"/>'
    '<path d="M4 18l5-5 3 3 4-5 4.5 5"/>',
}  # fmt: skip


def icon(name: str) -> str:
    """The icon as HTML; those who hear the page get the name from what it stands in."""
    return (
        '<svg class="icon" viewBox="0 0 24 24" width="20" height="20" fill="none" stroke="currentColor" '
        f'stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{_LINES[name]}</svg>'
    )


def icon_button(name: str, said: str, more: str = "", about: str = "") -> str:
    """A button that shows an icon, and its name on hover and to those who hear the page.

    Args:
        name: of the icon, and of what the button does.
        said: the name as a person reads it, escaped.
        more: further attributes.
        about: what it acts on, for those who hear it; escaped.
    """
    label = f"{said}: {about}" if about else said
    return (
        f'<button type="button" class="verb" data-do="{name}" data-tip="{said}" aria-label="{label}"{more}>'
        f"{icon(name)}</button>"
    )
