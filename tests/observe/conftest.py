"""An instance to be observed."""

from datetime import UTC, datetime

import pytest

from flux.events import InstanceFacts, StepFacts


@pytest.fixture
def facts() -> InstanceFacts:
    """Instance `order-7` of a workflow with two steps."""
    return InstanceFacts(
        id="order-7",
        workflow="order",
        created_at=datetime(2026, 1, 1, 11, 59, tzinfo=UTC),
        input=b'{"sku":"A1"}',
        steps={
            "reserve": StepFacts(index=0, commit=False, max_retries=3),
            "charge": StepFacts(index=1, commit=True, max_retries=0),
        },
    )
