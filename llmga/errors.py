"""What a person can mend is told as one sentence; everything else stays a traceback."""


class UserError(ValueError):
    """A mistake in what a person typed or gave.

    The message is one sentence that names the bad value, the limit and the remedy.  Command lines print it and exit
    with 2, the HTTP server answers with a 4xx, the page shows it; nothing already made is lost.
    """
