"""Scripts as they are sent."""

import re
from importlib.resources import files

import pytest

from flux_storages.redis_lua import SCRIPTS, command, packed

FOLDER = files("flux_storages") / "redis_scripts"
PRELUDE = re.findall(r"^local function (\w+)", (FOLDER / "prelude.lua").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_calls(name: str) -> None:
    """A script has those functions of the prelude that it calls, each once, and no others."""
    text = SCRIPTS[name].in_full.decode()
    for function in PRELUDE:
        called = len(re.findall(rf"\b{function}\(", text))
        defined = text.count(f"local function {function}(")
        assert (defined, called > 1) in ((0, False), (1, True)), function


def test_a_command() -> None:
    """A command is the number of its parts, and each part with its length in bytes."""
    assert command("SET", "ø", 70) == b"*3\r\n$3\r\nSET\r\n$2\r\n\xc3\xb8\r\n$2\r\n70\r\n"
    long = b"x" * 100_000
    assert packed([long]) == b"$100000\r\n%b\r\n" % long


def test_a_call_in_full() -> None:
    """A call by name and one with the script itself differ in nothing else."""
    script = SCRIPTS["load"]
    call = script.call("{flux}", ["", "order-7", 1])
    assert call.startswith(b"*7\r\n$7\r\nEVALSHA\r\n$40\r\n")
    assert call.endswith(packed([1, "{flux}", "", "order-7", 1]))
    full = script.call_in_full(call)
    assert full == b"*7\r\n" + script.in_full + packed(["{flux}", "", "order-7", 1])
