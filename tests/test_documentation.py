"""Every Python block of README and docs runs, page by page, as a reader would run it.

A page's blocks share their names. Crystal files that pages read are in the working folder. A block that cannot run here
has ``<!-- not run: reason -->`` on the line before it; it must compile all the same. Tutorials are not among them: they
are run when the documentation is built. The command line must be able to read the
commands of icsg3d in shell blocks.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer
from pymatgen.core import Lattice, Structure

from icsg3d.cli import app
from icsg3d.generation.candidates import Candidate
from icsg3d.report.folders import CANDIDATE_FILES, CandidateFolder
from icsg3d.run_folders import run_folder

ROOT = Path(__file__).parents[1]
PAGES = [path for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))] if "_build" not in path.parts]
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?:python|py)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)

# Packages without which a page's blocks cannot run.
NEEDS = {"ecosystem": ["matminer", "atomate2"], "scale": ["atomate2"], "validation": ["atomate2"]}


def blocks(page: Path) -> list[tuple[str, bool, int]]:
    """Return code, whether it runs, and the line it begins in, of each Python block of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        (found["code"], not found["reason"], text.count("\n", 0, found.start("code")) + 1)
        for found in BLOCK.finditer(text)
    ]


WITH_CODE = [page for page in PAGES if blocks(page)]


@pytest.fixture
def working_folder(tmp_path, monkeypatch):
    """A folder with the files that pages read."""
    shutil.copy(ROOT / "examples" / "SrTiO3.cif", tmp_path / "SrTiO3.cif")
    shutil.copy(ROOT / "examples" / "SrTiO3.cif", tmp_path / "my_crystal.cif")
    barium = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(4.0), ["Ba", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    )
    barium.to(filename=str(tmp_path / "BaTiO3.cif"))
    with run_folder(tmp_path / "runs/demo", CANDIDATE_FILES, {}, holds="candidates", resume=False, overwrite=False):
        demo = CandidateFolder(tmp_path / "runs/demo", {})
        demo.add(Candidate(0, barium))
        demo.write_tables()
    monkeypatch.chdir(tmp_path)
    return tmp_path


SLOW = {"generator.md", "screening.md", "ecosystem.md"}
"""Pages whose blocks draw crystals for more than some seconds."""


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow if page.name in SLOW else ()) for page in WITH_CODE],
    ids=[page.relative_to(ROOT).as_posix() for page in WITH_CODE],
)
def test_blocks_run(page, working_folder):
    for package in NEEDS.get(page.stem, []):
        pytest.importorskip(package)
    names: dict[str, object] = {"__name__": "__main__"}
    for code, runs, line in blocks(page):
        compiled = compile("\n" * (line - 1) + code, str(page), "exec")
        if runs:
            exec(compiled, names)  # noqa: S102 (our own pages)


def test_most_blocks_run():
    found = [(page.name, runs) for page in WITH_CODE for _, runs, _ in blocks(page)]
    left = [name for name, runs in found if not runs]
    assert sorted(left) == [
        "ecosystem.md",  # dask
        "install-gpaw.md",
        "many-machines.md",
        "many-machines.md",
        "materials-project.md",
        "materials.md",
        "validation.md",
        "validation.md",
        "validation.md",
    ]
    assert len(found) - len(left) >= 9


# typer has a click of its own or takes the installed one.
ClickException = typer.BadParameter.__mro__[2]

COMMAND = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?icsg3d (?P<words>[^#\n]*?)\s*(?:#.*)?$", re.MULTILINE)
SHELL_BLOCK = re.compile(r"^```(?:console|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Return the commands of icsg3d in a page's shell blocks, without those that stand for several."""
    text = "\n".join(SHELL_BLOCK.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ")
    return [found["words"] for found in COMMAND.finditer(text) if "..." not in found["words"]]


def parse(words: str) -> None:
    """Let the command line read a command without running it.

    Raises:
        ClickException: if there is no such command, option or kind of value.
    """
    arguments, command = shlex.split(words), typer.main.get_command(app)
    while hasattr(command, "commands"):
        while arguments and arguments[0].startswith("-"):
            arguments.pop(0)
        if not arguments:
            return
        name, parent = arguments.pop(0), command
        command = parent.commands.get(name)
        assert command is not None, f"there is no command {name}"
    if "--help" not in arguments:
        command.make_context(name, arguments)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_are_read(page):
    for words in commands(page):
        try:
            parse(words)
        except (AssertionError, ClickException) as error:
            pytest.fail(f"{page.name}: icsg3d {words}: {error}")


@pytest.mark.parametrize(
    "words", ["generate --bass SrTiO3 --out a", "generate -n many --out a", "design --out a", "generate"]
)
def test_commands_that_do_not_exist_are_found(words):
    with pytest.raises((AssertionError, ClickException)):
        parse(words)


def test_the_collector_finds_blocks_and_reasons(tmp_path):
    page = tmp_path / "page.md"
    left = "<!-- not run: asks a server -->\n```python\nb\n```\n\n"
    page.write_text(f"# A\n\n{left}```python\na = 1\n```\n\n{left}```console\n$ c\n```\n")
    assert blocks(page) == [("b\n", False, 5), ("a = 1\n", True, 9), ("b\n", False, 14)]
