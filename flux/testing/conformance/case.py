"""The kit as a test class, for pytest and for unittest."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from flux.storage import WorkflowStorage
from flux.testing.conformance.rule import KitMisusedError, Rule
from flux.testing.conformance.rules import RULES
from flux.testing.conformance.subject import Address, Subject
from flux.testing.conformance.trial import keep


class StorageConformance:
    """A test for every rule; a subclass whose name begins with `Test` says how to make a storage.

        class TestMyStorage(StorageConformance):
            def storage(self):
                return MyStorage(fresh_place())

    The tests are plain methods that run loops of their own, so no plugin is needed. A rule that
    does not count for you is left out by its name: `test_listing_default_limit = None`.
    """

    real_time = False
    """Whether the storage goes by a time of its own, not by the clock given to `init`."""

    examples = 40
    """How many lives the state machine plays."""

    def storage(self) -> WorkflowStorage | Awaitable[WorkflowStorage]:
        """A new storage with nothing in it, not opened; it may be an `async def`."""
        raise KitMisusedError("say how to make an empty storage: def storage(self)")

    def address(self, storage: WorkflowStorage) -> Address | None:
        """How another process opens the same: a URL, or a function that `pickle` can carry.

        None, the default: nobody can, and what several processes do is not tried.
        """
        return None

    def dispose(self, storage: WorkflowStorage) -> Awaitable[None] | None:
        """Remove what the storage keeps, after it was closed; it may be an `async def`."""
        return None


def _test_of(rule: Rule) -> Callable[[Any], None]:
    def test(self: StorageConformance) -> None:
        __tracebackhide__ = True
        subject = Subject(
            make=self.storage,
            address=self.address,
            dispose=self.dispose,
            real_time=self.real_time,
            examples=self.examples,
        )
        asyncio.run(keep(rule, subject))

    test.__name__ = f"test_{rule.area}_{rule.name}"
    test.__qualname__ = f"StorageConformance.{test.__name__}"
    test.__doc__ = rule.text
    return test


for _rule in RULES:
    _test = _test_of(_rule)
    setattr(StorageConformance, _test.__name__, _test)
