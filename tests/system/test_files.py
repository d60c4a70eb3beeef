"""Space on a disk, and sizes in messages."""

import pytest

from dit_core.errors import BadRequest
from dit_core.system import causes
from dit_core.system.files import check_space


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (308_486, "308 kB"),
        (999_600, "1.00 MB"),
        (2_701_234_567, "2.70 GB"),
        (141_000_000_000, "141 GB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit_that_fits(count, text):
    assert causes.size(count) == text


def test_a_file_that_does_not_fit_is_refused_with_sizes_that_tell_why(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1_200_000})())
    check_space(tmp_path / "not" / "there.npz", 1_200_000, "The file", "name another file")
    with pytest.raises(BadRequest) as refusal:
        check_space(tmp_path / "not" / "there.npz", 3_700_000, "The file", "set DIT_CACHE")
    assert str(refusal.value) == (
        f"The file needs 3.70 MB, and the disk of {tmp_path} has 1.20 MB left: free some space, or "
        "set DIT_CACHE to another folder."
    )
