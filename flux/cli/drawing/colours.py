"""The colours of the statuses, in every format: those that need a person are the strongest."""

from collections.abc import Mapping

from flux.cli.drawing.progress import LEFT_OUT, NOT_REACHED
from flux.frozen import frozen
from flux.state.status import StepStatus


@frozen
class Colour:
    """What a node is filled with, and its border; black text can be read on it."""

    fill: str
    border: str


PLAIN = Colour("#ffffff", "#444444")

COLOURS: Mapping[str, Colour] = {
    StepStatus.PENDING: Colour("#ffffff", "#888888"),
    StepStatus.RUNNING: Colour("#bfdbfe", "#1d4ed8"),
    StepStatus.COMPLETED: Colour("#bbf7d0", "#15803d"),
    StepStatus.FAILED: Colour("#fecaca", "#b91c1c"),
    StepStatus.SKIPPED: Colour("#e5e7eb", "#6b7280"),
    StepStatus.SUSPENDED: Colour("#fef08a", "#a16207"),
    StepStatus.COMPENSATED: Colour("#e9d5ff", "#7e22ce"),
    StepStatus.COMPENSATING: Colour("#fed7aa", "#c2410c"),
    LEFT_OUT: Colour("#f3f4f6", "#9ca3af"),
    NOT_REACHED: Colour("#ffffff", "#9ca3af"),
}
