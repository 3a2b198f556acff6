"""Addresses of Apprise: which can be used, and what makes a message silent there."""

from __future__ import annotations

import traceback

import pytest
from pydantic import SecretStr

from panda_streams.alerts.targets import open_targets
from panda_streams.errors import SettingsError


def test_targets_are_named_by_number_and_service_alone():
    addresses = ["json://user:secret@127.0.0.1:1/secret", "tgram://123456789:secret_secret/12315544/"]

    names = [target.name for target in open_targets([SecretStr(address) for address in addresses])]

    assert names == ["target 1 (JSON)", "target 2 (Telegram)"]


@pytest.mark.parametrize("address", ["nonsense-secret", "nosuchservice://secret", "tgram://secret", ""])
def test_an_address_that_cannot_be_used_is_counted_and_not_quoted(address, caplog):
    with pytest.raises(SettingsError, match="alert target 2 is no address") as caught:
        open_targets([SecretStr("json://127.0.0.1:1"), SecretStr(address)])

    assert caught.value.fix
    assert "secret" not in "".join(traceback.format_exception(caught.value)) + caplog.text


@pytest.mark.parametrize(
    ("address", "parameter"),
    [
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", "silent=yes"),
        ("nctalk://user:password@host/room", "silent=yes"),
        ("discord://123456789/abcdefghijklmnopqrst", "flags=4096"),
        ("https://discord.com/api/webhooks/123456789/abcdefghijklmnopqrst", "flags=4096"),
        ("ntfy://topic?priority=max", "priority=low"),
        ("pover://user@token", "priority=moderate"),
        ("gotify://host/AbcdefghijklmnO", "priority=moderate"),
    ],
)
def test_a_service_that_can_be_silent_is_told_to(address, parameter):
    [target] = open_targets([SecretStr(address)])

    assert parameter in target._quiet[0].url()
    assert parameter not in target._loud[0].url()
