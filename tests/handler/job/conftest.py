from __future__ import annotations

import pytest
from fake_runtime import FakeRuntime

from handler.inputs import InputFetcher
from handler.job.invoke import Function
from handler.job.kept import open_kept_results
from handler.job.results import Delivery
from handler.shelf import open_storage


@pytest.fixture
def fake() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def fake_function(fake, local_settings) -> Function:
    """A function whose runs are made up: for what the handler does around them."""
    delivery = Delivery(open_storage(local_settings), open_kept_results(local_settings))
    return Function(local_settings, fake, InputFetcher(local_settings), delivery)
