"""What the verbs are given, checked before anything is done with it."""

from collections.abc import Mapping

import uuid_utils

from flux.definition.wait import RESERVED
from flux.storage import WorkflowStorage, open_storage


def checked_storage(storage: str | WorkflowStorage) -> WorkflowStorage:
    """The storage given, or that of the URL given; `TypeError` for what is neither."""
    if isinstance(storage, str):
        return open_storage(storage)
    if not hasattr(storage, "claim_due"):
        raise TypeError(
            f"{storage!r} is no storage; give a URL such as 'sqlite:///orders.db', "
            "or a WorkflowStorage such as SQLiteStorage(path)"
        )
    return storage


def checked_id(id: str | None) -> str:
    """The id given, or a new one; `ValueError` for what can be none."""
    if id is None:
        return str(uuid_utils.uuid7())
    if not isinstance(id, str) or not id or not id.isprintable():
        raise ValueError(f"{id!r} is no id; an id is printable text that is not empty")
    return id


def checked_reason(reason: str | None) -> str | None:
    """The reason given, or `ValueError`."""
    if reason is not None and not isinstance(reason, str):
        raise ValueError(f"{reason!r} is no reason; it is text")
    return reason


def checked_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """The labels given, or `ValueError`."""
    given = dict(labels or {})
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ValueError(f"the label {name!r}: {value!r} is not text; labels are str to str")
        if name.startswith(RESERVED):
            raise ValueError(f"the label {name!r}: {RESERVED!r} is reserved for the engine")
    return given
