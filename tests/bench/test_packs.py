"""Node packs are compared with a stock start's, each by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from places import PROJECT, TESTS

from bench.pack_report import SeenClass, SeenPack, SeenStart, compare, markdown
from bench.packs import PacksReport

PACKS = TESTS / "contract_packs" / "base" / "custom_nodes"

A = SeenClass(defined_in="pack.A", declares="[]")


def start(**packs: SeenPack) -> SeenStart:
    return SeenStart(comfyui_version="1", packs=packs)


def differences(stock: SeenPack, ours: SeenPack) -> tuple[str, ...]:
    [pack] = compare(start(pack=stock), start(pack=ours))
    return pack.differences


def test_packs_with_the_same_classes_handlers_and_routes_do_not_differ():
    stock = SeenPack(seconds=1, classes={"A": A}, handlers=("f", "f"), routes=("GET /a",))
    ours = stock.model_copy(update={"seconds": 0.0, "seconds_later": 2.0})
    assert differences(stock, ours) == ()


@pytest.mark.parametrize(
    ("stock", "ours", "said"),
    [
        (SeenPack(classes={"A": A}), SeenPack(), "classes missing here: A"),
        (SeenPack(), SeenPack(classes={"A": A}), "classes that stock lacks: A"),
        (
            SeenPack(classes={"A": A}),
            SeenPack(classes={"A": SeenClass(defined_in="other.A", declares="[]")}),
            "classes defined elsewhere: A",
        ),
        (
            SeenPack(classes={"A": A}),
            SeenPack(classes={"A": SeenClass(defined_in="pack.A", declares="[1]")}),
            "classes that declare something else: A",
        ),
        (SeenPack(handlers=("f", "f")), SeenPack(handlers=("f",)), "on-prompt handlers missing"),
        (SeenPack(routes=("GET /a",)), SeenPack(), "routes missing here: GET /a"),
        (SeenPack(), SeenPack(error="No module"), "fails here alone: No module"),
        (SeenPack(error="No module"), SeenPack(), "fails in stock: No module"),
    ],
)
def test_each_difference_is_named(stock, ours, said):
    [difference] = differences(stock, ours)
    assert difference.startswith(said)


def test_pack_that_one_start_lacks_differs_and_stands_first():
    compared = compare(
        start(a=SeenPack(), b=SeenPack(classes={"A": A})), start(a=SeenPack(), b=SeenPack())
    )
    assert [pack.name for pack in compared] == ["b", "a"]


def test_table_gives_the_reasons_of_a_pack_that_fails_in_both():
    failed = SeenPack(error="No module named 'x'")
    table = markdown(compare(start(p=failed), start(p=failed)))
    assert "| p | 0 | the same, fails in both |" in table
    assert "- p fails in stock: No module named 'x'" in table
    assert "- p fails here: No module named 'x'" in table


@pytest.mark.slow
def test_one_command_compares_a_folder_of_packs_in_both_starts(comfyui_dir, tmp_path):
    folder = tmp_path / "packs"
    shutil.copytree(PACKS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    # Leans on more than a stock start of every release has imported.
    (folder / "leans.py").unlink()
    written = tmp_path / "report.json"
    arguments = [str(folder), "--used=in_parts.py", "--starts=1", f"--json={written}"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench.packs", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=PROJECT,
        env={**os.environ, "COMFYUI_DIR": str(comfyui_dir)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = PacksReport.model_validate_json(written.read_bytes())
    packs = {pack.name: pack for pack in report.packs}
    assert packs.keys() == {path.name for path in PACKS.iterdir()} - {"leans.py", "__pycache__"}
    assert not [pack.name for pack in report.packs if pack.differences]
    assert packs["asks_first.py"].ours.handlers == packs["asks_first.py"].stock.handlers != ()
    assert packs["asks_first.py"].ours.routes == ("GET /asks_first",)
    assert packs["same_name_b.py"].stock.classes.keys() == {"SameName"}
    assert packs["lacks_packages"].stock.error == "No module named 'not_on_this_machine'"
    newer = packs["newer_api_fails.py"]
    assert newer.stock.error == newer.ours.error == "no classes today"
    assert packs["says_nothing_at_import.py"].ours.error.endswith("AssertionError")
    assert f"process start to ready, {len(packs)} packs" in done.stdout
    assert "the same, 1 of them imported" in done.stdout
