"""Where the project's files are, whatever folder a test stands in."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent
PROJECT = TESTS.parent
WORKFLOWS = TESTS / "workflows"
