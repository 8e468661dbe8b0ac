"""The table of faults in docs/reliability.md is what the tests are marked with."""

from __future__ import annotations

from fault_table import marked_faults, table, table_on_page
from places import PROJECT


def test_table_of_faults_is_up_to_date():
    """``pytest -m fault --write-fault-table`` writes it."""
    assert table_on_page() == table(marked_faults())


def test_each_attack_is_in_the_table():
    marked = {fault.file for fault in marked_faults()}
    attacks = (PROJECT / "tests" / "abuse").glob("test_*.py")
    assert {str(file.relative_to(PROJECT)) for file in attacks} <= marked
    assert len(marked_faults()) > 20
