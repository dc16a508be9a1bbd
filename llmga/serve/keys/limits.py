"""What a key may use: a table of quotas, from which flags, columns and refusals derive."""

from dataclasses import dataclass

from llmga.registry import Registry

MINUTE, DAY = 60, 86_400  # seconds
REQUESTS, PICTURES, PIXELS = "requests", "pictures", "pixels"
UNITS = (REQUESTS, PICTURES, PIXELS)


@dataclass(frozen=True)
class Limit:
    """A row of the table.

    Attributes:
        unit: What is counted: one of `UNITS`.
        seconds: Of the period after which counting begins anew; periods begin at midnight UTC.  None: what is at work
            or waits at once is counted.
        help: In a line.
    """

    unit: str
    seconds: int | None
    help: str

    def period(self, now: float) -> int:
        """When the period began that a moment is in; both are seconds of Unix time."""
        return int(now) - int(now) % (self.seconds or 1)


LIMITS = Registry("limit", {
    "requests-a-day": Limit(REQUESTS, DAY, "requests from one midnight (UTC) to the next"),
    "pictures-a-day": Limit(PICTURES, DAY, "pictures, the same"),
    "pixels-a-day": Limit(PIXELS, DAY, "pixels of these pictures together"),
    "requests-a-minute": Limit(REQUESTS, MINUTE, "requests of a minute"),
    "at-once": Limit(REQUESTS, None, "requests at work or waiting at the same time"),
})  # fmt: skip
