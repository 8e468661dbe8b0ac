from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from handler.contract.webhook_signature import keys_of, signature_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_signature_is_that_of_the_specification():
    """The example that the specification's libraries test themselves with."""
    headers = signature_headers(
        keys_of(SECRET),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(
    key=st.binary(min_size=24, max_size=64),
    text=st.text(),
    other=st.binary(min_size=24, max_size=64),
)
def test_standards_own_library_verifies_it_whichever_key_the_receiver_has(key, text, other):
    secrets = ["whsec_" + base64.b64encode(one).decode() for one in (key, other)]
    body = text.encode(errors="replace")
    now = int(datetime.now(UTC).timestamp())
    headers = signature_headers(keys_of(" ".join(secrets)), "msg_1", now, body)
    for secret in secrets:
        Webhook(secret).verify(body, headers, json_parse=False)


@pytest.mark.parametrize("secret", ["", "  ", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "x" * 200])
def test_what_cannot_sign_is_refused_and_not_repeated(secret):
    with pytest.raises(ValueError, match=r"bytes|base64") as refused:
        keys_of(secret)
    assert not secret.strip() or secret not in str(refused.value)
