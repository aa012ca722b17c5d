"""Instances that an older Flux has stored go on: the texts here are as that one wrote them."""

from datetime import UTC, datetime

import pytest

from flux import (
    DefinitionChangedError,
    Entry,
    Record,
    Workflow,
    WorkflowStatus,
    WorkflowStorage,
)
from flux.clock import SystemClock
from opening import OpenEngine
from sagas import noting, step_of

AT = datetime(2026, 11, 21, 9, 21, 39, tzinfo=UTC)
ERROR = '{"type":"ZeroDivisionError","message":"division by zero","traceback":"","cause":null}'
FIXED = (
    '{"format":1,"input":{"sku":"A1"},"data":{},'
    '"shape":[["reserve","step",false,[]],["fail","step",false,["reserve"]]]}'
)
HEAD = f'{{"format":1,"direction":"back","run":1,"ticks":2,"recoveries":0,"error":{ERROR}}}'
RESERVED = (
    '{"format":1,"step":"reserve","status":"completed","place":1,"attempts":1,'
    '"started_at":"2026-11-21T09:21:39.297017+00:00",'
    '"ended_at":"2026-11-21T09:21:39.297383+00:00","output":"ok","set":{"r":1},'
    '"finished":1,"folded":1,"outcome":"completed"}'
)
FAILED = (
    '{"format":1,"step":"fail","status":"failed","place":2,"attempts":1,'
    '"started_at":"2026-11-21T09:21:39.301298+00:00",'
    f'"ended_at":"2026-11-21T09:21:39.301410+00:00","failures":1,"error":{ERROR}}}'
)


@pytest.fixture
async def stored(storage: WorkflowStorage) -> WorkflowStorage:
    """A storage with an instance "o" of format 1, which failed in its second step."""
    await storage.init(SystemClock())
    record = Record(
        id="o",
        workflow="order",
        version="1",
        status="failed",
        owner="a:1",
        created_at=AT,
        updated_at=AT,
        ended_at=AT,
        fixed=FIXED.encode(),
        payload=HEAD.encode(),
    )
    bodies = enumerate((RESERVED, FAILED), start=1)
    entries = [Entry(number=number, body=body.encode()) for number, body in bodies]
    assert await storage.create(record, entries=entries)
    return storage


async def test_format_1_goes_on(stored: WorkflowStorage, open_engine: OpenEngine) -> None:
    """It is shown and resumed: what it did stays done."""
    ran: list[str] = []
    order = Workflow("order").step("reserve", noting("reserve", ran)).step("fail", noting("f", ran))
    engine = await open_engine(stored, workflows=[order])
    assert (await engine.get("o")).data == {"r": 1}
    result = await engine.resume("o")
    await stored.close()
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["f"])
    assert step_of(result, "reserve").output == "ok"


async def test_format_1_is_compared(stored: WorkflowStorage, open_engine: OpenEngine) -> None:
    """Its shape did not tell who has a compensator; all else is compared."""
    other = Workflow("order").step("new", noting("new", [])).step("reserve", noting("r", []))
    engine = await open_engine(stored, workflows=[other.step("fail", noting("f", []))])
    with pytest.raises(DefinitionChangedError, match="step 'new' is new before step 'reserve'"):
        await engine.resume("o")
    await stored.close()
