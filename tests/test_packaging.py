"""What is installed: the wheel's contents, the installed program, and the container file."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from dit_core.cli.arguments import parser
from dit_core.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTAINER = (ROOT / "Containerfile").read_text().replace("\\\n", " ")


def test_every_file_that_the_wheel_adds_is_there():
    added = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all((ROOT / source).exists() for source in added)
    assert (ROOT / PYPROJECT["tool"]["hatch"]["version"]["path"]).is_file()


def test_requirements_are_what_a_package_can_name():
    from packaging.requirements import Requirement

    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            Requirement(line)


def commands_of(keyword: str) -> list[list[str]]:
    return [
        json.loads(words) for words in re.findall(rf"^(?:HEALTHCHECK )?{keyword} (\[.*\])$", CONTAINER, re.MULTILINE)
    ]


def test_the_container_starts_a_command_that_exists_and_listens_outside():
    *_, start = commands_of("CMD")
    assert start[0] in PYPROJECT["project"]["scripts"]
    options, others = parser("", COMMANDS).parse_known_args(start[1:])
    assert options.command.__name__ == "dashboard"
    assert "--server.address=0.0.0.0" in others
    (port,) = re.findall(r"^EXPOSE (\d+)$", CONTAINER, re.MULTILINE)
    assert f"--server.port={port}" in others


def test_the_container_asks_a_path_of_the_server_for_its_health():
    from streamlit.web.server.starlette import starlette_routes

    health = commands_of("CMD")[0][-1]
    compile(health, "health", "exec")
    (path,) = re.findall(r"8501/([^']+)'", health)
    assert path in Path(starlette_routes.__file__).read_text()


def test_the_container_keeps_everything_that_the_program_writes_in_its_volume():
    (volume,) = re.findall(r"^VOLUME (\S+)$", CONTAINER, re.MULTILINE)
    moved = dict(re.findall(r"(\w+)=(\S+)", next(line for line in CONTAINER.splitlines() if line.startswith("ENV"))))
    assert all(place.startswith(f"{volume}/") for place in moved.values())
    code = "\n".join(path.read_text() for path in (ROOT / "dit_core").rglob("*.py"))
    folders = set(re.findall(r'environ\.get\("(DIT_(?:RESULTS|QUEUE|DATA|CACHE))"', code))
    assert folders | {"HF_HOME"} == set(moved)


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", str(ROOT), "-w", str(folder)]
    built = subprocess.run(command, capture_output=True, text=True)
    if "No matching distribution" in built.stderr or "Temporary failure in name resolution" in built.stderr:
        pytest.skip("what builds a wheel cannot be downloaded")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run_installed(site, tmp_path, code, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(site), "DIT_DATA": str(tmp_path / "data"), "DIT_DEVICE": "cpu"}
    for name in ("DIT_RESULTS", "DIT_QUEUE"):
        environment.pop(name, None)
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_an_installed_program_reads_the_bundled_records_and_writes_to_the_user_s_folder(installed, tmp_path):
    main = "import sys; from dit_core.__main__ import main; sys.exit(main())"
    ended = run_installed(installed, tmp_path, main, "claims")
    assert ended.returncode == 0, ended.stderr
    assert "no records yet" not in ended.stdout
    roots = run_installed(
        installed,
        tmp_path,
        "from dit_core.inside.files import folder; from dit_core.records.places import results_root;"
        "from dit_core.records.store import Store;"
        "Store().probe(); print(results_root(), len(Store().load().records), len(list(folder().glob('*.json'))))",
    )
    root, records, panels = roots.stdout.split()
    assert Path(root) == (tmp_path / "data" / "results").resolve()
    assert (int(records) > 50, int(panels) > 3) == (True, True)


@pytest.mark.slow
def test_every_page_of_an_installed_program_opens(installed, tmp_path):
    pages = sorted(path.stem for path in (ROOT / "pages").glob("*.py"))
    code = f"""
from streamlit.testing.v1 import AppTest
import dit_core.ui.server
dit_core.ui.server.ensure_worker = lambda queue: None
home = {str(installed / "dit_core" / "home")!r}
at = AppTest.from_file(f"{{home}}/dit_core/ui/main.py", default_timeout=120).run()
for page in {pages}:
    at.switch_page(f"../../pages/{{page}}.py").run()
    assert not at.exception, at.exception
    assert at.title, page
"""
    ended = run_installed(installed, tmp_path, code)
    assert ended.returncode == 0, ended.stderr
