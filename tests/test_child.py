"""How a job's process tells its ending."""

import pytest

from dit_core.child import is_out_of_memory, outcome
from dit_core.errors import BadRequest, Cancelled
from dit_core.store import StoreError


def test_memory_that_the_cpu_refuses_to_torch_is_out_of_memory():
    import torch

    with pytest.raises(RuntimeError) as refusal:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert not isinstance(refusal.value, torch.OutOfMemoryError)
    assert outcome(refusal.value)[0] == "out-of-memory"
    assert outcome(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB."))[0] == "out-of-memory"
    assert outcome(torch.AcceleratorError("CUDA error: out of memory"))[0] == "out-of-memory"


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
def test_every_other_error_ends_a_job_with_one_line(error: Exception, expected: tuple[str, str]):
    assert outcome(error)[:2] == expected
