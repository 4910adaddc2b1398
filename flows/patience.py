"""How Prefect tries a task again, and when."""

from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from pipeline.store import storage_errors

LASTING = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
"""Errors of the operating system that another try meets again."""


def may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether another try may succeed: a network or a disk that failed, not bad input."""
    # Not its result(), which is a coroutine, and so true, wherever an event loop runs.
    return isinstance(state.data, storage_errors()) and not isinstance(state.data, LASTING)


PATIENT: dict[str, Any] = {
    "persist_result": False,
    "retries": 5,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": may_pass,
}
"""How a task is tried: again after 2, 4, 8, 16 and 32 s, up to half as long again each."""
