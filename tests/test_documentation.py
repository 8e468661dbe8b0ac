from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import PROJECT

import handler.contract.errors  # noqa: F401 - the codes below are those of every loaded class
from comfyui_runtime.errors import ServiceError
from handler.cli import main
from handler.contract.event import parse_event
from handler.job.graph_policy import CORE_CLASSES, PACK_CLASSES

READMES = [PROJECT / "README.md", PROJECT / "README.zh.md"]
CONTRIBUTING = PROJECT / "CONTRIBUTING.md"
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
# Commands of the READMEs that end within seconds and that no other test runs as they stand there.
# tests/test_command_line.py runs ``run`` and ``check``.
RUN_HERE = (
    "-m handler workflows",
    pytest.param("-m handler runpod --cpu --test_input", marks=pytest.mark.slow),
)


def subclasses(cls: type[ServiceError]) -> set[type[ServiceError]]:
    return {cls}.union(*(subclasses(sub) for sub in cls.__subclasses__()))


def blocks(page: Path, language: str = r"\w*") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def name(value: Path) -> str:
    return value.relative_to(PROJECT).as_posix()


def test_every_setting_is_in_the_table_as_the_command_prints_it(capsys):
    assert main(["settings"]) == 0
    assert capsys.readouterr().out in (PROJECT / "docs" / "settings.md").read_text()


def test_every_setting_has_a_meaning(capsys):
    main(["settings"])
    assert "| None |" not in capsys.readouterr().out


def test_every_error_code_is_documented_with_its_status_and_whether_a_retry_helps():
    page = (PROJECT / "docs" / "events.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)` \| (\d+) \| (yes|no) \|", page, re.MULTILINE))
    classes = {cls for cls in subclasses(ServiceError) if "code" in vars(cls)}
    expected = {
        (cls.code, str(cls.http_status), "yes" if cls.retryable else "no")
        for cls in classes - {ServiceError}
    }
    assert rows == expected


def test_every_class_that_graphs_of_callers_may_not_have_is_in_the_tables():
    page = (PROJECT / "docs" / "caller-graphs.md").read_text().replace("\\|", "|")
    rows = dict(re.findall(r"^\| `([^`]+)` \| ([^`]+) \|$", page, re.MULTILINE))
    assert rows == CORE_CLASSES | PACK_CLASSES


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        if "://" in target:
            continue
        linked = page.parent / target if target else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_events_in_the_pages_are_valid(page):
    for block in blocks(page, "json"):
        data = json.loads(block)
        if "input" in data:
            parse_event(data)


def test_sample_event_is_valid():
    parse_event(json.loads((PROJECT / "samples" / "event.json").read_text()))


def test_readmes_hold_the_same_code_blocks_and_link_to_each_other():
    english, chinese = READMES
    assert blocks(english) == blocks(chinese)
    assert f"]({chinese.name})" in english.read_text()
    assert f"]({english.name})" in chinese.read_text()


def test_readmes_name_the_same_files_variables_and_figures():
    english, chinese = (page.read_text() for page in READMES)
    for pattern in (r"`[^`\n]+`", r"\]\(((?!README)[^)#]+)", r"^\|[^\n]*\| ([\d.]+) \|$"):
        found = set(re.findall(pattern, english, re.MULTILINE))
        assert found == set(re.findall(pattern, chinese, re.MULTILINE))


@pytest.mark.parametrize("package", ["comfyui_runtime", "handler"])
@pytest.mark.parametrize("page", [*READMES, CONTRIBUTING], ids=name)
def test_map_of_the_code_shows_every_folder(page, package):
    shown = page.read_text()
    for init in (PROJECT / package).rglob("__init__.py"):
        assert f"{init.parent.name}/" in shown, init.parent


def test_files_that_the_contributing_guide_names_exist(comfyui_dir):
    folders = (PROJECT, PROJECT / "handler", PROJECT / "comfyui_runtime", comfyui_dir)
    for path in re.findall(r"`([\w./]+\.(?:py|sh|txt|in|md))`", CONTRIBUTING.read_text()):
        assert any((folder / path).is_file() for folder in folders), path


def test_every_decision_is_in_the_index():
    folder = PROJECT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    for page in folder.glob("[0-9]*.md"):
        assert f"({page.name})" in index


@pytest.mark.parametrize("readme", READMES, ids=name)
@pytest.mark.parametrize("part", RUN_HERE)
def test_command_of_the_readme_works(readme, part, tmp_path, comfyui_dir):
    (command,) = (block for block in blocks(readme, "sh") if part in block)
    assert command.startswith(".venv/bin/python ")
    done = subprocess.run(
        ["bash", "-euc", command.replace(".venv/bin/python", sys.executable, 1)],
        cwd=PROJECT,
        env={
            **os.environ,
            "COMFYUI_DIR": str(comfyui_dir),
            "COMFYUI_BASE_DIR": str(tmp_path / "base"),
            "RESULTS_DIR": str(tmp_path / "results"),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "illustrate" in done.stdout + done.stderr
