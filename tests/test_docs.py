"""What the documentation says of the project: links lead somewhere, commands and options exist, no page is lost."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from cgap.cli import app

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@EACH_PAGE
def test_links_lead_to_files_that_are_there(page: Path):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def commands_in(text: str) -> list[list[str]]:
    """The lines of code blocks that call cgap, as words without comments."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("cgap ")]
    return [shlex.split(re.sub(r"[\[\]]|\s\|.*?(?=[\s\]])", " ", line.split("   #")[0])) for line in lines]


@EACH_PAGE
def test_commands_in_the_documentation_exist_with_their_options(page: Path):
    """Fails if a renamed command or option leaves a page behind."""
    for _, *words in commands_in(page.read_text()):
        name, *arguments = words
        if name.startswith("-"):
            continue
        assert name in COMMANDS, name
        options = {
            option for parameter in COMMANDS[name].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for word in arguments:
            if re.match(r"--?[a-z]", word):
                assert word.split("=")[0].split("|")[0] in options, f"cgap {name} has no {word}"


def test_the_tutorials_call_the_command():
    """Fails if the test above finds no commands any more, whatever they are."""
    for page in (ROOT / "docs" / "tutorials").glob("*.md"):
        assert len(commands_in(page.read_text())) >= 2, page.name


def test_every_page_is_in_the_site():
    """Fails if a page can be reached by no reader of the site."""
    site = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS:
        assert f" {page.relative_to(ROOT / 'docs').as_posix()}\n" in site, page.name
