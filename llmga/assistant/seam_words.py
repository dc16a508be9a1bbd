"""The seam of a repainted part in words, for people; its figures stand in the record."""

from llmga.assistant.record import Record
from llmga.seams import VISIBLE


def seam_words(record: Record) -> str:
    """Whether the edge of what was painted shows, and which restorer may help; empty where nothing was repainted."""
    if record.seam_after is None:
        return ""
    if record.seam_after.colour < VISIBLE:
        return "seam hidden"
    better = "match+blend" if record.restorer in (None, "none", "match") else "diffrir-x1"
    return "seam visible" + (f": try --restorer {better}" if better != record.restorer else "")
