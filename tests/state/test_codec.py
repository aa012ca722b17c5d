"""The codec: instances to JSON text and back, with a format number and upgrades."""

from typing import Any

import orjson
import pytest
from hypothesis import given

from flux import StateFormatError
from flux.state import codec
from flux.state.execution import Execution
from flux.state.instance import Head, Origin
from instances import executions, heads, origins


@given(executions)
def test_execution_comes_back(execution: Execution) -> None:
    """A history entry is read as it was written, whatever it holds."""
    text = codec.encode_execution(execution)
    assert codec.decode_execution(execution.number, text) == execution


@given(heads)
def test_head_comes_back(head: Head) -> None:
    """The text and the columns of the record give the head again."""
    columns: dict[str, Any] = {"updated_at": head.updated_at, "ended_at": head.ended_at}
    assert codec.decode_head(codec.encode_head(head), status=str(head.status), **columns) == head


@given(origins)
def test_origin_comes_back(origin: Origin) -> None:
    """The text and the columns of the record give the origin again."""
    columns = {
        name: getattr(origin, name)
        for name in ("id", "workflow", "version", "created_at", "labels", "unique_key")
    }
    assert codec.decode_origin(codec.encode_origin(origin), **columns) == origin


@given(executions)
def test_text_is_json_with_the_format(execution: Execution) -> None:
    """What is stored is JSON that people can read, and names its format and its step."""
    document = orjson.loads(codec.encode_execution(execution))
    assert document["format"] == codec.FORMAT
    assert document["step"] == execution.step


@pytest.mark.parametrize("kind", ["origin", "head", "execution"])
@pytest.mark.parametrize("found", [codec.FORMAT + 1, 0, -1, "1", None, 1.5, True])
def test_unknown_format_is_refused(kind: str, found: object) -> None:
    """A newer format, or what is none, raises and says what to do."""
    text = orjson.dumps({"format": found})
    with pytest.raises(StateFormatError, match="upgrade flux-saga") as refused:
        codec.read(kind, text)
    assert (refused.value.kind, refused.value.found) == (kind, found)
    assert f"the stored {kind} has format {found!r}" in str(refused.value)


def test_missing_format_is_refused() -> None:
    """A text without a number is of no known format."""
    with pytest.raises(StateFormatError):
        codec.read("head", b"{}")


@pytest.mark.parametrize("decode", [codec.decode_origin, codec.decode_head])
def test_decoding_looks_at_the_format(decode: Any) -> None:
    """Every part that is read is looked at, not only when it is asked for."""
    with pytest.raises(StateFormatError):
        decode(orjson.dumps({"format": codec.FORMAT + 1}), status="running")


def test_older_format_is_upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document is led from number to number, in order, up to the present one."""
    monkeypatch.setattr(codec, "FORMAT", 3)

    def first(kind: str, document: dict[str, Any]) -> dict[str, Any]:
        return {"format": 2, "kind": kind, "steps": [document["step"]]}

    def second(kind: str, document: dict[str, Any]) -> dict[str, Any]:
        return document | {"format": 3, "count": len(document["steps"])}

    read = codec.read("head", b'{"format": 1, "step": "a"}', upgrades={1: first, 2: second})
    assert read == {"format": 3, "kind": "head", "steps": ["a"], "count": 1}


def test_present_format_needs_no_upgrade() -> None:
    """A document of the present format is read as it stands."""
    document = {"format": codec.FORMAT, "step": "a"}

    def refuse(kind: str, document: object) -> None:
        raise AssertionError("not to be called")

    upgrades = {codec.FORMAT: refuse, codec.FORMAT - 1: refuse}
    assert codec.read("head", orjson.dumps(document), upgrades=upgrades) == document


def test_every_older_format_has_an_upgrade() -> None:
    """No format that was ever written is left behind."""
    assert set(codec.UPGRADES) == set(range(1, codec.FORMAT))
