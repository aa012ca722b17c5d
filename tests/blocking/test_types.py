"""What a type checker sees; that it sees it is checked by mypy, which looks at the tests too."""

from collections.abc import Sequence
from typing import assert_type

from flux import Diagnosis, FluxResult, WorkflowState, WorkflowSummary
from flux.blocking import BlockingEngine
from sagas import sequence

from .conftest import OpenBlocking


def test_types_are_those_of_the_engine(open_blocking: OpenBlocking) -> None:
    """The verbs return what the engine's verbs return, without an `Awaitable` around it."""
    flux = open_blocking(sequence("a"))
    assert_type(flux, BlockingEngine)
    result = assert_type(flux.execute("order", id="order-1"), FluxResult)
    assert_type(flux.get(result.id), WorkflowState)
    assert_type(flux.list(), Sequence[WorkflowSummary])
    assert_type(flux.count(), int)
    assert_type(flux.diagnose(result.id), Diagnosis)
    assert_type(flux.delete(result.id), None)
    assert result.status == "completed"


def wrong(flux: BlockingEngine) -> None:
    """Calls that a type checker refuses; it complains of a comment that is not needed."""
    flux.execute()  # type: ignore[call-arg]
    flux.execute("order", {}, "order-1")  # type: ignore[call-arg]
    flux.get(7)  # type: ignore[arg-type]
    flux.signal("order-1", "approved", wait="yes")  # type: ignore[arg-type]
    flux.nothing()  # type: ignore[attr-defined]
