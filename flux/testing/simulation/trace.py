"""What happened in a run, line by line."""

import hashlib
import re
from collections.abc import Callable

Line = tuple[float, str, str, tuple[object, ...]]


class Trace:
    """The lines of one run, in the order in which they happened."""

    def __init__(self, time: Callable[[], float]) -> None:
        self.time = time
        self._lines: list[Line] = []

    def note(self, who: str, what: str, *details: object) -> None:
        self._lines.append((self.time(), who, what, details))

    @property
    def digest(self) -> str:
        """Equal for two runs in which the same happened."""
        return hashlib.sha256(str(self).encode()).hexdigest()

    def __str__(self) -> str:
        return without_addresses("\n".join(map(_shown, self._lines)))


def without_addresses(text: str) -> str:
    """The text, as it is in every process."""
    return _ADDRESS.sub("at 0x...", text)


_ADDRESS = re.compile("at 0x[0-9a-f]+")


def _shown(line: Line) -> str:
    time, who, what, details = line
    return f"{time:10.3f}  {who:<6} {what:<18} {' '.join(map(str, details))}".rstrip()
