"""S5: a step declared `at_most_once` is not run again after an interruption."""

import asyncio
from typing import Any

import pytest

from dying import Crash
from flux import (
    InvalidTransitionError,
    NotDone,
    Outcome,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
    done,
    not_done,
)
from flux import FluxEngine
from flux.testing import ManualClock
from jumping import FAR, JumpingClock
from opening import OpenEngine
from sagas import Flaky, noting, step_of, until
from saves import Saves
