"""All settings: one frozen model, read once from the environment at the edge and passed in from there."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from panda_streams.domain.matching import QueueModel
from panda_streams.errors import SettingsError
from panda_streams.identity import Clock, Home, Ports
from panda_streams.kite import KiteProfile

__all__ = ["Settings", "load_settings"]


class Settings(BaseSettings):
    """Settings of every process. Each is an environment variable; an env file can hold them (`--env-file`)."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", case_sensitive=True, populate_by_name=True, env_ignore_empty=True
    )

    broker_namespace: str | None = Field(
        None, alias="BROKER_NAMESPACE", description="The broker account that a worker trades; unset for the brain."
    )
    kafka_broker_url: str | None = Field(
        None,
        alias="KAFKA_BROKER_URL",
        description="Kafka or Redpanda to use, `kafka://host:9092` (several hosts separated by `;`). Unset: an "
        "embedded Apache Kafka.",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", alias="KAFKA_SECURITY_PROTOCOL", description="How to talk to the given Kafka."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", alias="KAFKA_SASL_MECHANISM", description="How to log in, with a SASL protocol."
    )
    kafka_sasl_username: str | None = Field(None, alias="KAFKA_SASL_USERNAME", description="User, if SASL.")
    kafka_sasl_password: SecretStr | None = Field(
        None, alias="KAFKA_SASL_PASSWORD", description="Password, with a SASL protocol. Never logged."
    )
    kafka_ssl_cafile: Path | None = Field(
        None, alias="KAFKA_SSL_CAFILE", description="Certificates to trust, with an SSL protocol. Unset: the system's."
    )
    redis_url: SecretStr | None = Field(
        None,
        alias="REDIS_URL",
        description="Redis to use, `redis://host:6379/0`; its database belongs to one world. Unset: an embedded one. "
        "Never logged, since it may hold a password.",
    )
    home: Path = Field(
        Path(".panda"), alias="PANDA_HOME", description="The one directory under which everything is written."
    )
    world: str | None = Field(
        None,
        alias="PANDA_WORLD",
        description="`sim`, `replay:<name>` or `live`. Unset: the world that `panda up` runs, else `sim`.",
    )
    clock: Clock | None = Field(
        None,
        alias="PANDA_CLOCK",
        description="`replay`: agents take records in the order of event time, so that every run gives the same books. "
        "`wall`: as they come. For a world's life. Unset: `wall` for live, else `replay`.",
    )
    port_base: int = Field(
        27600, alias="PANDA_PORT_BASE", description="First port; all ports of a deployment are counted from it."
    )
    instance: int = Field(
        0, alias="PANDA_INSTANCE", description="Number of this worker among those that share its work, 0 to 9."
    )
    partitions: int = Field(
        4,
        alias="PANDA_PARTITIONS",
        ge=1,
        le=256,
        description="Partitions of every topic, for a world's life.",
    )
    replication: int = Field(
        1, alias="PANDA_REPLICATION", ge=1, le=5, description="Replicas of every topic; 3 on a Kafka cluster."
    )
    topic_prefix: str | None = Field(
        None,
        alias="PANDA_TOPIC_PREFIX",
        description="Put before every topic and group name. Unset: nothing on the embedded Kafka, `<world>.` on a "
        "given one.",
    )
    tick_retention_hours: int = Field(
        72,
        alias="PANDA_TICK_RETENTION_HOURS",
        ge=1,
        description="How long Kafka keeps ticks. Broker terms ask for short.",
    )
    feed: str = Field(
        "sim",
        alias="PANDA_FEED",
        description="What `panda feed` publishes when it is not told: `sim`, `kite`, or the path of a recording.",
    )
    feed_speed: str = Field(
        "",
        alias="PANDA_FEED_SPEED",
        description="Event seconds a wall second, or `max`. Unset: 10 for the simulator, 1 for a recording.",
    )
    sim_seed: int = Field(1, alias="PANDA_SIM_SEED", description="Seed of the market simulator.")
    sim_rate: float = Field(
        0.5,
        alias="PANDA_SIM_RATE",
        gt=0,
        le=10,
        description="Ticks of an instrument per event second in the market simulator, on average.",
    )
    strategies: Path | None = Field(
        None,
        alias="PANDA_STRATEGIES",
        description="Directory of the strategies' YAML files. Unset: `strategies/configs` of the installation.",
    )
    instruments: str | None = Field(
        None,
        alias="PANDA_INSTRUMENTS",
        description="File of instruments, YAML or a dump of Kite (`*.csv`, `*.csv.gz`), or several joined by `:` as "
        "`package:.panda/instruments/kite.csv.gz`, a later one counting where two know the same instrument; `package` "
        "is the list of shares and indices that is part of the package. Unset: that list alone.",
    )
    calendar: Path | None = Field(
        None,
        alias="PANDA_CALENDAR",
        description="YAML file of holidays, special sessions and trading hours, whose entries are added to those of "
        "the package or replace them. Unset: those of the package.",
    )
    alerts: Path | None = Field(
        None,
        alias="PANDA_ALERTS",
        description="YAML file of the services that alerts go to, how loud each kind is and how often one is sent "
        "([alerts.md](alerts.md)). It holds secrets: nobody else should be able to read it.",
    )
    alert_urls: SecretStr | None = Field(
        None,
        alias="PANDA_ALERT_URLS",
        description="Addresses of Apprise, separated by spaces, that alerts go to beside those of PANDA_ALERTS. Never "
        "logged.",
    )
    limits: Path | None = Field(
        None,
        alias="PANDA_LIMITS",
        description="YAML file of risk limits, by namespace, of accounts, strategies and instruments (docs/risk.md). "
        "Unset: those of the strategies' own files alone.",
    )
    paper_latency_ms: int = Field(
        500,
        alias="PANDA_PAPER_LATENCY_MS",
        ge=0,
        description="Event time from a signal's cause until the paper market can fill its order.",
    )
    paper_latency_spread_ms: int = Field(
        0,
        alias="PANDA_PAPER_LATENCY_SPREAD_MS",
        ge=0,
        description="Mean of a random delay beyond that, exponentially distributed and drawn from the order's id. 0: "
        "the latency is constant.",
    )
    paper_slippage: Decimal = Field(
        Decimal("0.0001"),
        alias="PANDA_PAPER_SLIPPAGE",
        ge=0,
        lt=1,
        description="Share of the last price that a paper order pays where the tick has no bid and ask.",
    )
    paper_participation: Decimal = Field(
        Decimal("0.25"),
        alias="PANDA_PAPER_PARTICIPATION",
        gt=0,
        le=1,
        description="Share of what traded since the tick before that one paper order may take, where the tick has no "
        "order book; the rest waits for the next tick.",
    )
    paper_queue: QueueModel = Field(
        QueueModel.THROUGH,
        alias="PANDA_PAPER_QUEUE",
        description="When a resting paper limit order is filled: `through`, once the market trades beyond its price; "
        "`queue`, also once what the order book showed before it has traded; `touch`, once its price trades.",
    )

    kite_profile: KiteProfile = Field(
        KiteProfile.SIMULATOR,
        alias="PANDA_KITE_PROFILE",
        description="Which Kite the arm of Zerodha talks to: `simulator`, the local `panda kitesim`; `sandbox`, "
        "Zerodha's own; `production`, real money, in the world `live` alone.",
    )
    kite_api_key: str = Field(
        "panda", alias="KITE_API_KEY", repr=False, description="Key of the Kite Connect app; the simulator takes any."
    )
    kite_api_secret: SecretStr = Field(
        SecretStr("panda-secret"),
        alias="KITE_API_SECRET",
        description="Secret of the Kite Connect app. Never logged; the access token is encrypted with it.",
    )
    kite_user_id: str = Field("", alias="KITE_USER_ID", description="User of the account, for the official sandbox.")
    kite_timeout_s: float = Field(
        7,
        alias="PANDA_KITE_TIMEOUT_S",
        gt=0,
        le=60,
        description="Seconds that a call to Kite may take to connect and to wait for its answer, in all. An order "
        "without one may have been placed, and is looked for.",
    )
    kite_absent_after_s: float = Field(
        60.0,
        alias="PANDA_KITE_ABSENT_AFTER_S",
        gt=0,
        description="Seconds after an order was sent without an answer until it is taken for one that never arrived, "
        "if Kite's book does not have it. Orders have shown minutes late; an exit is then sent again.",
    )
    kite_record: bool = Field(
        False,
        alias="PANDA_KITE_RECORD",
        description="Whether `panda feed kite` writes a recording of what it publishes. Kite's terms forbid permanent "
        "copies without permission.",
    )
    kitesim_latency_ms: int = Field(
        350,
        alias="PANDA_KITESIM_LATENCY_MS",
        ge=0,
        description="Event time from an order's cause until the exchange of `panda kitesim` can fill it.",
    )
    kitesim_latency_spread_ms: int = Field(
        150, alias="PANDA_KITESIM_LATENCY_SPREAD_MS", ge=0, description="Mean of a random delay beyond that."
    )
    kitesim_slippage: Decimal = Field(
        Decimal("0.0002"),
        alias="PANDA_KITESIM_SLIPPAGE",
        ge=0,
        lt=1,
        description="Share of the last price that an order pays at kitesim where the tick has no bid and ask.",
    )
    kitesim_participation: Decimal = Field(
        Decimal("0.2"),
        alias="PANDA_KITESIM_PARTICIPATION",
        gt=0,
        le=1,
        description="Share of what traded since the tick before that one order may take at kitesim; the rest waits.",
    )
    kitesim_cash: Decimal = Field(
        Decimal("5000000"), alias="PANDA_KITESIM_CASH", ge=0, description="Money in the account at kitesim."
    )
    kitesim_faults: Path | None = Field(
        None,
        alias="PANDA_KITESIM_FAULTS",
        description="YAML file of faults that `panda kitesim` injects. Unset: none.",
    )

    @property
    def home_dir(self) -> Home:
        return Home(self.home.expanduser().absolute())

    @property
    def ports(self) -> Ports:
        return Ports(self.port_base)


def load_settings() -> Settings:
    """Read the settings from the environment; raise SettingsError that names each unusable one."""
    try:
        settings = Settings()
    except ValidationError as error:
        # The value is not printed: it may be a secret.
        wrong = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"unusable setting: {wrong}", fix="correct or unset it; see docs/settings.md") from None
    settings.ports  # noqa: B018  an impossible port base is an error of the setting, not of its first user
    return settings
