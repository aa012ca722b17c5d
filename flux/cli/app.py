"""The workflows that `module:attribute` names on a command line."""

import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from flux.definition.builder import Workflow
from flux.definition.registry import Registry
from flux.definition.workflow import WorkflowDefinition
from flux.errors import DefinitionError, WorkflowConflictError


class AppError(ValueError):
    """What was named holds no workflows; the message says why."""


def load_app(name: str) -> Sequence[WorkflowDefinition]:
    """The workflows at `module:attribute`, built.

    The attribute is a `Workflow`, a list or tuple of them, or a function without parameters that
    returns either. The module is looked for in the working directory first. `AppError`.
    """
    return workflows_in(load_named(name), name)


def load_named(name: str) -> Any:
    """What is at `module:attribute`, or `AppError`."""
    module_name, colon, path = name.partition(":")
    if not colon or not all(part.isidentifier() for part in f"{module_name}.{path}".split(".")):
        raise AppError(f"{name!r} names no workflows; write module:attribute, as in shop:workflows")
    return _attribute(_imported(module_name), path)


def workflows_in(found: Any, name: str) -> Sequence[WorkflowDefinition]:
    """The workflows of what is at `name`, built; a function is called anew. `AppError`."""
    return _built(name, _returned(found, name) if callable(found) else found)


def _imported(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{name}.".startswith(f"{missing.name}."):
            raise _failed(f"the import of {name}", missing) from missing
        raise AppError(
            f"there is no module {missing.name!r} in the working directory or on the PYTHONPATH"
        ) from missing
    except Exception as error:
        raise _failed(f"the import of {name}", error) from error


def _attribute(module: ModuleType, path: str) -> Any:
    found: Any = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            where = module.__name__ if found is module else f"what comes before it, {found!r},"
            raise AppError(f"{path!r} is not there: {where} has no {part!r}") from None
    return found


def _returned(function: Any, name: str) -> Any:
    try:
        return function()
    except Exception as error:
        raise _failed(f"the call of {name}", error) from error


def _built(name: str, found: Any) -> Sequence[WorkflowDefinition]:
    listed: Iterable[Any] = found if isinstance(found, list | tuple) else [found]
    registry = Registry()
    built: list[WorkflowDefinition] = []
    for each in listed:
        if not isinstance(each, Workflow | WorkflowDefinition):
            raise AppError(
                f"{name} holds {each!r}; give a Workflow, a list of them, or a plain function "
                "that returns either"
            )
        try:
            built.append(registry.register(each))
        except (DefinitionError, WorkflowConflictError) as error:
            raise AppError(str(error)) from error
    if not built:
        raise AppError(f"{name} is empty; there is nothing to drive")
    return built


def _failed(what: str, error: Exception) -> AppError:
    told = f"{what} failed: {type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):  # which tells by itself where it is
        return AppError(told)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return AppError(f"{told} ({last.filename}, line {last.lineno})")
