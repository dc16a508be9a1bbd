"""What is uploaded to be gone on with."""

from collections.abc import Sequence
from pathlib import Path

from llmga.assistant.library.imports import session_of
from llmga.assistant.session_file import SavedSession
from llmga.assistant.settings import Settings
from llmga.errors import UserError


def imported(paths: Sequence[str], settings: Settings) -> SavedSession:
    """The session of uploaded files: one that was saved, or one that shows their pictures.

    Raises:
        UserError: they are none; where they lie on the server is nobody's business.
    """
    try:
        return session_of([Path(path) for path in paths], settings)
    except UserError as problem:
        said = str(problem)
        for path in paths:
            said = said.replace(str(path), Path(path).name)
        raise UserError(said) from None
