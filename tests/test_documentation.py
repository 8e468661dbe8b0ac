from __future__ import annotations

import json
import re

import pytest
from places import PROJECT

import handler.contract.errors  # noqa: F401 - the codes below are those of every loaded class
from comfyui_runtime.errors import ServiceError
from handler.cli import main
from handler.contract.event import parse_event

PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")])


def subclasses(cls: type[ServiceError]) -> set[type[ServiceError]]:
    return {cls}.union(*(subclasses(sub) for sub in cls.__subclasses__()))


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_events_in_the_pages_are_valid(page):
    for block in re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL):
        data = json.loads(block)
        if "input" in data:
            parse_event(data)


def test_sample_event_is_valid():
    parse_event(json.loads((PROJECT / "samples" / "event.json").read_text()))
