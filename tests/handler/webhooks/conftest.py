from __future__ import annotations

import pytest
from platforms_support.webhook_receiver import SECRET, Receiver

from handler.settings import Settings, load_settings


@pytest.fixture
def make_receiver():
    receivers = []

    def make(*statuses: int, port: int = 0) -> Receiver:
        receivers.append(Receiver(*statuses, port=port))
        return receivers[-1]

    yield make
    for receiver in receivers:
        receiver.close()
        assert receiver.forged == []


@pytest.fixture
def hook_settings(local_settings) -> Settings:
    secret = load_settings(webhook_secret=SECRET).webhook_secret
    return local_settings.model_copy(
        update={"webhook_secret": secret, "webhook_allowed_hosts": frozenset({"127.0.0.1"})}
    )
