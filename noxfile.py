"""Common tasks by name: ``nox -s lint types tests``. All use the environment of provision.sh."""

from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "none"

_BIN = Path(__file__).parent / ".venv" / "bin"


def _run(session: nox.Session, *command: str) -> None:
    session.run(str(_BIN / command[0]), *command[1:], external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Lint, format, import rules, shell scripts, Dockerfile."""
    _run(session, "ruff", "check")
    _run(session, "ruff", "format", "--check")
    _run(session, "lint-imports")
    _run(session, "shellcheck", "provision.sh", ".ci/run")
    _run(session, "hadolint", "Dockerfile")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    _run(session, "mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the quick tests; arguments after -- go to pytest."""
    _run(session, "python", "-m", "pytest", *session.posargs)


@nox.session
def tests_all(session: nox.Session) -> None:
    """Run all tests, one after the other; arguments after -- go to pytest."""
    everything = ("-m", "slow or not slow", "--numprocesses=0")
    _run(session, "python", "-m", "pytest", *everything, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure; arguments after -- go to the benchmark."""
    _run(session, "python", "-m", "bench", *session.posargs)


@nox.session
def image(session: nox.Session) -> None:
    """Build the image; arguments after -- go to docker build."""
    session.run(
        "docker", "build", "--tag", "serverless-comfyui", *session.posargs, ".", external=True
    )


@nox.session(venv_backend="venv")
def audit(session: nox.Session) -> None:
    """Look the pinned packages up in the database of known vulnerabilities; needs the network."""
    session.install("pip-audit")
    session.run("pip-audit", "--requirement", "constraints.txt", "--disable-pip", "--no-deps")
