"""Text without what steers: neither a terminal nor a tokenizer should meet control characters."""

CONTROLS = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\n"), ord("\t")})


def plain(text: str) -> str:
    """The text without control characters but line ends and tabs; halves of characters become question marks."""
    return text.translate(CONTROLS).encode(errors="replace").decode()
