"""The file of alerts: its form, its defaults, and errors that quote no address."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from panda_streams.alerts.config import DEFAULTS, load_alerts
from panda_streams.alerts.kinds import AlertKind, Loudness
from panda_streams.alerts.rate import Rate
from panda_streams.errors import BadInput
from panda_streams.settings import Settings

SECRET = "s3cr3t-t0k3n"


def settings(tmp_path: Path, text: str = "", urls: str = "") -> Settings:
    file = tmp_path / "alerts.yaml"
    file.write_text(text)
    return Settings(PANDA_ALERTS=file, PANDA_ALERT_URLS=urls or None)  # type: ignore[call-arg]


def test_without_settings_there_is_no_target_and_each_kind_has_its_default():
    config = load_alerts(Settings.model_construct())

    assert (config.targets, config.kinds) == ((), DEFAULTS)
    assert set(config.kinds) == set(AlertKind)


def test_a_file_says_where_to_how_loud_and_how_often(tmp_path):
    text = """
targets:
  - json://127.0.0.1:8080/token
kinds:
  HALT: silent
  ORDER_REJECTED: on
  RESUME: off
rate: {count: 3, seconds: 60}
"""
    config = load_alerts(settings(tmp_path, text))

    assert [target.get_secret_value() for target in config.targets] == ["json://127.0.0.1:8080/token"]
    wanted = {AlertKind.HALT: Loudness.SILENT, AlertKind.ORDER_REJECTED: Loudness.ON, AlertKind.RESUME: Loudness.OFF}
    assert config.kinds == {**DEFAULTS, **wanted}
    assert config.rate == Rate(count=3, seconds=60)


def test_addresses_of_the_environment_come_after_those_of_the_file(tmp_path):
    config = load_alerts(settings(tmp_path, "targets: [json://a]", "json://b  json://c\n"))

    assert [target.get_secret_value() for target in config.targets] == ["json://a", "json://b", "json://c"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"targets: json://host/{SECRET}", "entry targets"),
        (f"targets: [{{{SECRET}: 1}}]", "entry targets.1"),
        (f"json://host/{SECRET}", "whole file"),
        (f"tgram://{SECRET}: on", "an unknown name"),
        (f"kinds: {{'json://host/{SECRET}': on}}", "entry kinds.an unknown name"),
        (f"kinds: {{HALT: {SECRET}}}", "entry kinds.HALT"),
        (f"targets: [json://host/{SECRET}\nkinds: {{", "line 2"),
        (f"targets: ['json://host/{SECRET}]", "no YAML"),
        (f"targets: [json://{SECRET}\x01]", "no YAML"),
        (f"rate: {{count: 0}}\ntargets: [json://{SECRET}]", "entry rate.count"),
    ],
)
def test_an_error_says_where_it_is_and_quotes_nothing(tmp_path, text, named):
    with pytest.raises(BadInput, match=named) as caught:
        load_alerts(settings(tmp_path, text))

    assert caught.value.fix
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.yaml"):
        load_alerts(Settings(PANDA_ALERTS=tmp_path / "nowhere.yaml"))  # type: ignore[call-arg]


def test_no_address_shows_in_what_is_printed_of_the_configuration(tmp_path):
    given = settings(tmp_path, f"targets: [json://host/{SECRET}]", f"json://host/{SECRET}")

    assert SECRET not in f"{load_alerts(given)!r} {given!r} {given.model_dump_json()}"
