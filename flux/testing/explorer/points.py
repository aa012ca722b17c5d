"""Where a process may die: at which save, and on which side of it."""

import re
from enum import StrEnum

from attrs import frozen


class When(StrEnum):
    """What happens at a save."""

    BEFORE = "before"
    """The process dies, and nothing is written."""
    AFTER = "after"
    """It is written, and the process dies before it hears of it."""
    ERROR = "error"
    """It is written, but the process sees an error that may pass, and lives on."""


class Course(StrEnum):
    """Which run it is that is struck."""

    FORWARD = "forward"
    """The workflow as it is."""
    ROLLBACK = "rollback"
    """The same with a last step that always fails, so that all is undone."""


@frozen
class CrashPoint:
    """A save, by its number from 1 on in the run without a crash, and what happens there.

    Its text, `7:after` or `rollback:7:after`, is the seed that repeats it.
    """

    number: int
    when: When
    course: Course = Course.FORWARD

    def __str__(self) -> str:
        where = f"{self.number}:{self.when}"
        return where if self.course is Course.FORWARD else f"{self.course}:{where}"

    @classmethod
    def parse(cls, seed: str) -> "CrashPoint":
        """The crash point that a seed names; `ValueError` for a text that is none."""
        found = _SEED.fullmatch(seed)
        if found is None:
            raise ValueError(
                f"{seed!r} names no crash point; write it as the report does: 7:after, "
                "or rollback:7:before"
            )
        course = Course.ROLLBACK if found["rollback"] else Course.FORWARD
        return cls(int(found["number"]), When(found["when"]), course)


_SEED = re.compile(rf"(?P<rollback>rollback:)?(?P<number>[1-9][0-9]*):(?P<when>{'|'.join(When)})")
