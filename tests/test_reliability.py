"""The table of faults in docs/reliability.md names tests that exist."""

from __future__ import annotations

import re

from places import PROJECT

PAGE = PROJECT / "docs" / "reliability.md"
ROW = re.compile(
    r"^\| (?P<fault>[^|]+) \| [^|]+ \| \[`(?P<test>\w+)`\]\(\.\./(?P<file>.+)\) \|$", re.MULTILINE
)


def test_each_fault_names_a_test_that_exists():
    rows = [row.groupdict() for row in ROW.finditer(PAGE.read_text())]
    assert len(rows) > 20
    for row in rows:
        source = (PROJECT / row["file"]).read_text()
        assert re.search(rf"^ *def {row['test']}\(", source, re.MULTILINE), row["fault"]


def test_each_attack_is_in_the_table():
    named = {row["file"] for row in ROW.finditer(PAGE.read_text())}
    attacks = (PROJECT / "tests" / "abuse").glob("test_*.py")
    assert {str(file.relative_to(PROJECT)) for file in attacks} <= named
