"""Settings: read once from the environment, frozen, with errors that name the variable and never its value."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from panda_streams.errors import SettingsError
from panda_streams.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch):
    for name in os.environ:
        if name.startswith(("PANDA_", "KAFKA_", "REDIS_", "BROKER_")):
            monkeypatch.delenv(name)


def test_without_an_environment_everything_has_a_default():
    settings = load_settings()

    assert (settings.broker_namespace, settings.kafka_broker_url, settings.redis_url) == (None, None, None)
    assert settings.home_dir.path == Path.cwd() / ".panda"


def test_the_environment_sets_what_it_names(monkeypatch):
    monkeypatch.setenv("BROKER_NAMESPACE", "paper")
    monkeypatch.setenv("PANDA_HOME", "~/panda")
    monkeypatch.setenv("PANDA_PAPER_SLIPPAGE", "0.00123")

    settings = load_settings()

    assert settings.broker_namespace == "paper"
    assert settings.home_dir.path == Path.home() / "panda"
    assert settings.paper_slippage == Decimal("0.00123")


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("BROKER_NAMESPACE", "")
    monkeypatch.setenv("PANDA_PARTITIONS", "")

    assert load_settings() == Settings.model_construct()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PANDA_PARTITIONS", "0"),
        ("PANDA_PARTITIONS", "four"),
        ("PANDA_PORT_BASE", "65000"),
        ("PANDA_PORT_BASE", "27600.5"),
        ("PANDA_INSTANCE", "first"),
        ("PANDA_CLOCK", "event"),
        ("PANDA_PAPER_SLIPPAGE", "1.5"),
        ("PANDA_PAPER_LATENCY_SPREAD_MS", "-1"),
        ("PANDA_PAPER_PARTICIPATION", "0"),
        ("PANDA_PAPER_QUEUE", "first"),
        ("PANDA_SIM_RATE", "0"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
    ],
)
def test_an_unusable_setting_is_named_with_a_fix(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=variable) as caught:
        load_settings()

    assert caught.value.exit_code == 2
    assert caught.value.fix


def test_all_unusable_settings_are_named_at_once(monkeypatch):
    monkeypatch.setenv("PANDA_PARTITIONS", "none")
    monkeypatch.setenv("PANDA_INSTANCE", "none")

    with pytest.raises(SettingsError, match=r"PANDA_INSTANCE.*PANDA_PARTITIONS"):
        load_settings()


def test_no_secret_is_printed(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@host/0")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")

    settings = load_settings()

    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:hunter2@host/0"


def test_an_error_prints_no_value_since_it_may_be_a_secret(monkeypatch):
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", "hunter2")
    monkeypatch.setenv("PANDA_PARTITIONS", "hunter2")

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().partitions = 8
