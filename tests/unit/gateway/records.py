"""A small world as the workers write it to Redis: paper trades with one strategy, zerodha has no arm."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from panda_streams.gateway.state import Raw, RawArm, assemble
from panda_streams.gateway.views import State
from panda_streams.identity import World
from panda_streams.mirrored import BrokerRecord

NOW = 1_700_000_100_000
EVENT = 1_623_815_400_000
INFY = "NSE:INFY"
INSTALLED = {
    "paper": BrokerRecord(namespace="paper", title="Paper", currency="INR", live=False, trader=True),
    "zerodha": BrokerRecord(namespace="zerodha", title="Zerodha", currency="INR", live=True, trader=False),
}


def text(fields: dict[str, Any], **changes: Any) -> str:
    return json.dumps(fields | changes)


def book(strategy_id: str = "M", **changes: Any) -> str:
    fields = {
        "world": "sim",
        "namespace": "paper",
        "strategy_id": strategy_id,
        "currency": "INR",
        "simulated": True,
        "capital": "1000000",
        "cash": "850000.10",
        "realised": "120.05",
        "unrealised": "-20.15",
        "charges": "75.000000000000000001",
        "equity": "1000024.90",
        "positions": 1,
        "fills": 3,
        "time": EVENT,
        "at": NOW - 1000,
        "version": 7,
    }
    return text(fields, **changes)


def position(instrument: str = INFY, **changes: Any) -> str:
    fields = {
        "instrument": instrument,
        "quantity": 100,
        "average_price": "1500.0000",
        "last_price": "1499.80",
        "realised": "120.05",
        "unrealised": "-20.15",
        "time": EVENT,
        "at": NOW - 1000,
    }
    return text(fields, **changes)


def health(role: str, namespace: str | None = None, **changes: Any) -> str:
    fields = {
        "kind": "health",
        "world": "sim",
        "role": role,
        "namespace": namespace,
        "instance": 0,
        "pid": {"feed": 11, "brain": 12, "arm": 13, "gateway": 14}[role],
        "state": "running",
        "ready": True,
        "mode": "ACTIVE" if role == "arm" else None,
        "detail": "",
        "lag": 0,
        "events": 500,
        "last_event_time": EVENT,
        "started_at": NOW - 60_000,
        "at": NOW - 500,
        "url": None,
    }
    return text(fields, **changes)


def risk(**changes: Any) -> str:
    fields = {
        "mode": "ACTIVE",
        "mode_reason": "",
        "cash": "850000.10",
        "signals": 40,
        "validated": 30,
        "rejected": 10,
        "refusals": {"POSITION_LIMIT": 10},
        "recent_refusals": [
            {
                "signal_id": "s1",
                "strategy_id": "M",
                "instrument": INFY,
                "codes": ["POSITION_LIMIT"],
                "findings": ["POSITION_LIMIT 1057, limit 1000"],
                "time": EVENT,
            }
        ],
        "stops": [],
        "day": {"date": "2021-06-16", "orders": 30, "equity": "1000024.90", "profit": "24.900000000000000001"},
        "time": EVENT,
        "at": NOW - 1000,
    }
    return text(fields, **changes)


def stop(**changes: Any) -> dict[str, Any]:
    fields = {
        "reason": "DAILY_LOSS",
        "mode": "HALTED",
        "level": "account",
        "detail": "600 is more than 500",
        "since": EVENT,
    }
    return fields | changes


def order(order_id: str, **changes: Any) -> str:
    fields = {
        "order_id": order_id,
        "strategy_id": "M",
        "instrument": INFY,
        "side": "BUY",
        "role": "ENTRY",
        "product": "MIS",
        "order_type": "LIMIT",
        "quantity": 10,
        "filled": 4,
        "state": "WORKING",
        "price": "1399.5",
        "trigger": None,
        "time": EVENT,
        "at": NOW,
    }
    return text(fields, **changes)


def strategies(*strategy_ids: str, brokers: tuple[str, ...] = ("paper", "zerodha")) -> str:
    listed = [
        {
            "strategy_id": strategy_id,
            "version": "abc",
            "brokers": brokers,
            "consents": {"zerodha": False},
            "state": "active",
            "reason": "",
        }
        for strategy_id in strategy_ids or ("M", "R")
    ]
    return json.dumps({"strategies": listed, "brokers": [], "at": NOW - 1000})


def processes(**changes: str) -> dict[str, str]:
    return {
        "feed:health:0": health("feed", lag=None),
        "brain:health:0": health("brain"),
        "paper:health:0": health("arm", "paper"),
        "gateway:health:0": health("gateway", last_event_time=None),
    } | changes


def arm(**changes: Any) -> RawArm:
    whole = RawArm(risk=risk(), portfolios={"M": book()}, positions={"M": {INFY: position()}}, orders={})
    return replace(whole, **changes)


def raw(**changes: Any) -> Raw:
    whole = Raw(
        stamp='{"world": "sim", "clock": "wall"}',
        strategies=strategies(),
        fanout={
            "brain:fanout:0": '{"counts": {"paper": 30, "zerodha": 25}}',
            "brain:fanout:1": '{"counts": {"paper": 15, "zerodha": 12}}',
        },
        arms={"paper": arm()},
        health=processes(),
    )
    return replace(whole, **changes)


def state(found: Raw | None = None, *, world: str = "sim", now: int = NOW) -> State:
    return assemble(found or raw(), World(world), INSTALLED, now)
