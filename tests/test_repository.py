"""What holds of the repository as a whole."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOT_OURS = {".git", ".venv", "__pycache__", ".pytest_cache", ".ruff_cache", "runs", "local"}


def files(folder: Path = ROOT):
    for path in folder.iterdir():
        if path.name not in NOT_OURS and not path.is_symlink():
            yield from files(path) if path.is_dir() else [path]


def test_the_repository_stays_under_120_megabytes():
    assert sum(path.stat().st_size for path in files()) < 120e6
