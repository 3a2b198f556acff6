"""docs/strategies.md: the contract of a strategy and the form of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docs.generator.fields import bounds, docstrings, prose, type_text, yaml
from docs.generator.markdown import head_of, table
from panda_streams.domain.contracts import Contract
from panda_streams.domain.protection import Protection
from panda_streams.domain.values import Value
from strategies.config import AccountConfig, StrategyConfig
from strategies.interface import Strategy, registered_strategies

__all__ = ["strategies_page"]


def strategies_page(page: Path) -> str:
    name_of_contract = ("`name`", "text", "required", "What the strategy calls it: letters, digits and _.")
    parts = [
        head_of(page),
        f"## The contract\n\n{_contract()}\n",
        f"## The form of the YAML file\n\n{_config_table(StrategyConfig)}",
        f"Each contract in `trades`:\n\n{_config_table(Contract, name_of_contract)}",
        f"Each entry of `accounts`:\n\n{_config_table(AccountConfig)}",
        f"Its `protection`:\n\n{prose(Protection)}\n\n{_config_table(Protection)}",
        "## Parameters of the strategies that are part of the package\n",
    ]
    for name, entry_point in registered_strategies().items():
        found: type[Strategy[Any]] = entry_point.load()
        if found.__module__.startswith("strategies."):
            parts.append(f"### `strategy: {name}`\n\n{prose(found)}\n\n{prose(found.Params)}\n")
            parts.append(_params_table(found.Params))
    return "\n".join(parts)


def _contract() -> str:
    return "`Strategy[S]`: " + prose(Strategy)[0].lower() + prose(Strategy)[1:]


def _config_table(kind: type[Value], *more: tuple[str, ...]) -> str:
    rows = list(more)
    for name, field in kind.model_fields.items():
        if name == "contracts":
            continue  # written into `trades`
        shown = "<broker>_trading_enabled" if name == "consents" else name
        default = "required" if field.is_required() or name == "brokers" else f"`{yaml(field.default)}`"
        type_name = "true, false or simulated" if name == "consents" else type_text(field.annotation, missing="")
        type_name = type_name.replace("](#", "](events.md#")
        if name == "consents":
            default = "`false`"
        elif field.default is None:
            default = "unset"
        if name == "trades":
            type_name = "list of text or contract"
        rows.append((f"`{shown}`", type_name + bounds(field.metadata), default, docstrings(kind)[name]))
    return table(("field", "type", "default", "meaning"), rows)


def _params_table(kind: type[Value]) -> str:
    rows = [
        (f"`{name}`", bounds(field.metadata).removeprefix(", "), f"`{field.default:g}`", docstrings(kind)[name])
        for name, field in kind.model_fields.items()
    ]
    return table(("parameter", "range", "default", "meaning"), rows)
