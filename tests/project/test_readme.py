"""The README's commands exist and its links lead somewhere; what it shows is what works."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```[ \t]*(\w*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
SHELLS = {"bash", "sh", "shell", "console"}
INLINE_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
HTML_LINK = re.compile(r"<(?:img|a)\b[^>]*?\b(?:src|href)=\"([^\"]+)\"")
REFERENCE_LINK = re.compile(r"^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
PLAIN_COMMANDS = {"cd", "source", ".", "export", "ls", "git", "python3", "py"}


def commands(markdown: str) -> Iterator[list[str]]:
    """Words of every command in fenced shell blocks, without prompts, variables set in front, and comments."""
    for language, body in FENCE.findall(markdown):
        if language not in SHELLS:
            continue
        for line in body.replace("\\\n", " ").splitlines():
            text = line.strip().removeprefix("$ ")
            for part in re.split(r"\s*(?:&&|;|\|\|?)\s*", text):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r"\w+=.*", words[0]):
                    words = words[1:]
                if words:
                    yield words


def synthlab_arguments(words: list[str]) -> list[str] | None:
    """Arguments of a call of synthlab's command line, or None for another command."""
    if Path(words[0]).name == "synthlab":
        return words[1:]
    if Path(words[0]).name in {"python", "python3"} and words[1:3] == ["-m", "synthlab"]:
        return words[3:]
    return None


def make_targets(makefile: str) -> set[str]:
    """Targets that a user may call."""
    return {t for names in re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE) for t in names.split()}


def links(markdown: str) -> set[str]:
    """Targets of all links and images outside fenced blocks."""
    text = FENCE.sub("", markdown)
    return {t for pattern in (INLINE_LINK, HTML_LINK, REFERENCE_LINK) for t in pattern.findall(text)}


def anchors(markdown: str) -> set[str]:
    """Anchors that a code host gives to the headings."""
    headings = re.findall(r"^#+\s+(.*?)\s*$", FENCE.sub("", markdown), re.MULTILINE)
    plain = (unicodedata.normalize("NFC", h).lower() for h in headings)
    return {re.sub(r"[^\w\- ]", "", h).replace(" ", "-") for h in plain}


def known(words: list[str]) -> bool:
    """Whether a command is of a kind that these tests check or that any shell has."""
    head = Path(words[0]).name
    if synthlab_arguments(words) is not None or head == "make" or head in PLAIN_COMMANDS:
        return True
    if head == "conda":
        return words[1:] in (["env", "create", "-f", "environment.yml"], ["activate", "synthlab"])
    if head in {"jupyter", "jupyter-lab"}:
        return "lab" in words[:2] or head == "jupyter-lab"
    if head == "python":
        return words[1:3] in (["-m", "venv"], ["-m", "pip"])
    return (head == "pip" and words[1] == "install") or head in {"pytest", "ruff", "mypy"}


COMMANDS = list(commands(README))
CALLS = sorted({tuple(a) for words in COMMANDS if (a := synthlab_arguments(words)) is not None})


def test_readme_shows_how_to_run_and_test() -> None:
    assert ["make", "run"] in COMMANDS
    assert ["make", "test"] in COMMANDS
    assert ["make", "jupyter"] in COMMANDS
    assert ["conda", "env", "create", "-f", "environment.yml"] in COMMANDS


def test_every_command_is_known() -> None:
    assert [words for words in COMMANDS if not known(words)] == []


def test_every_make_target_exists() -> None:
    targets = make_targets((ROOT / "Makefile").read_text())
    assert targets >= {"run", "test", "jupyter", "bench", "clean", "help"}
    called = {w for words in COMMANDS if words[0] == "make" for w in words[1:] if "=" not in w and w[0] != "-"}
    assert called
    assert called <= targets


def test_every_install_names_files_that_exist() -> None:
    installs = [words for words in COMMANDS if "install" in words and "pip" in "".join(words[:3])]
    assert any(words[-4:] == ["-c", "constraints.txt", "-e", ".[dev]"] for words in installs)
    files = {b for words in installs for a, b in itertools.pairwise(words) if a in {"-c", "-r"}}
    assert [f for f in sorted(files) if not (ROOT / f).is_file()] == []


def test_every_synthlab_call_parses() -> None:
    """Each subcommand answers --help, and its help names every option that the README uses."""
    assert CALLS, "the README shows no `python -m synthlab` command"
    for arguments in CALLS:
        subcommand = [a for a in arguments[:1] if not a.startswith("-")]
        answer = subprocess.run(
            [sys.executable, "-m", "synthlab", *subcommand, "--help"], capture_output=True, text=True, cwd=ROOT
        )
        assert answer.returncode == 0, f"{arguments}: {answer.stderr}"
        options = [a.split("=")[0] for a in arguments if a.startswith("--")]
        assert [o for o in options if not re.search(rf"(?<![\w-]){o}(?![\w-])", answer.stdout)] == [], arguments


def test_an_unknown_subcommand_is_refused() -> None:
    """Otherwise the test above would pass for any word."""
    answer = subprocess.run(
        [sys.executable, "-m", "synthlab", "nonsense", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert answer.returncode not in (0, None)
    assert "nonsense" in answer.stderr


def test_every_link_leads_to_a_file() -> None:
    local = [t for t in links(README) if not re.match(r"[a-z]+:|#", t)]
    assert local, "the README links to no file"
    assert sorted(t for t in local if not (ROOT / t.split("#")[0]).exists()) == []


def test_every_anchor_is_a_heading() -> None:
    assert sorted(t for t in links(README) if t.startswith("#") and t[1:] not in anchors(README)) == []


@pytest.mark.parametrize("command", ["curl x | bash", "rm -rf data", "make run && apt-get install y", "conda update z"])
def test_unknown_commands_are_noticed(command: str) -> None:
    assert not all(known(words) for words in commands(f"```bash\n{command}\n```\n"))


def test_reading_commands_and_links() -> None:
    text = (
        "# A b: c\n```bash\n$ A=1 make run PRESET=tiny  # why\npython -m synthlab run quick --seed=1\n```\n[x](y.md)\n"
    )
    assert list(commands(text)) == [
        ["make", "run", "PRESET=tiny"],
        ["python", "-m", "synthlab", "run", "quick", "--seed=1"],
    ]
    assert (links(text), anchors(text)) == ({"y.md"}, {"a-b-c"})
