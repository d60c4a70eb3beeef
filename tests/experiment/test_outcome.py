"""The ending of a run, from the error that it raised or from how its process ended."""

import signal

import pytest

from dit_core.errors import BadRequest, Cancelled
from dit_core.experiment.outcome import is_out_of_memory, of_error, of_failure
from dit_core.records.store import StoreError
from dit_core.system import isolation


def test_memory_that_the_cpu_refuses_to_torch_is_out_of_memory():
    import torch

    with pytest.raises(RuntimeError) as refusal:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert not isinstance(refusal.value, torch.OutOfMemoryError)
    assert of_error(refusal.value).state == "out-of-memory"
    assert of_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")).state == "out-of-memory"
    assert of_error(torch.AcceleratorError("CUDA error: out of memory")).state == "out-of-memory"


def test_an_error_caused_by_missing_memory_is_out_of_memory():
    error = ValueError("the baseline failed")
    error.__cause__ = MemoryError()
    assert is_out_of_memory(error)
    assert is_out_of_memory(OSError(12, "Cannot allocate memory"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Cancelled(), ("cancelled", "Cancelled while it ran.")),
        (BadRequest("steps must be 1 or more."), ("failed", "steps must be 1 or more.")),
        (StoreError("The record was not saved."), ("failed", "The record was not saved.")),
        (RuntimeError("wrong shape\nmore"), ("failed", "RuntimeError: wrong shape")),
        (BadRequest("out of memory is a word of this request"), ("failed", "out of memory is a word of this request")),
        (ZeroDivisionError(), ("failed", "ZeroDivisionError")),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_every_other_error_has_a_reason_of_one_line(error: Exception, expected: tuple[str, str]):
    assert of_error(error)[:2] == expected


@pytest.mark.parametrize(
    ("failure", "state", "reason"),
    [
        (isolation.TimedOut("slow"), "timed-out", "It ran longer than its limit of 60 s."),
        (isolation.Killed(signal.SIGKILL), "out-of-memory", "The system ended it, most likely because memory ran out."),
        (isolation.Killed(signal.SIGSEGV), "failed", "A signal ended its process: Segmentation fault."),
        (isolation.Failed("exit code 3"), "failed", "Its process ended too early: exit code 3"),
    ],
)
def test_a_process_without_an_ending_of_its_own_has_a_state_and_a_reason(failure, state, reason):
    assert of_failure(failure, 60)[:2] == (state, reason)
