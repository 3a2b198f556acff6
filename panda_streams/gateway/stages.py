"""How far each stage of an arm has come in event time, from what its processes report. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from panda_streams.gateway.views import ProcessView, StageView

__all__ = ["stages"]

_ARM = ("risk", "execution", "portfolio")
"""Stages of an arm, which are agents of that name."""
_STRATEGIES = "strategy"
"""The brain's agent."""


def stages(
    feeds: Iterable[ProcessView], brains: Iterable[ProcessView], arms: Sequence[ProcessView]
) -> tuple[StageView, ...]:
    """The way of an event through one arm, stage by stage; empty if no arm has ever reported."""
    if not arms:
        return ()
    feed = max(feeds, key=lambda view: view.at, default=None)
    clock = feed.last_event_time if feed else None
    waits = "" if feed is not None and feed.state in ("running", "finished") else _state("feed", [feed] if feed else [])
    found = [StageView(stage="feed", reached=clock, behind_ms=None, waits=waits)]
    found.append(_stage("brain", _STRATEGIES, _current(brains), clock, "brain"))
    found += [_stage(name, name, _current(arms), clock, "arm") for name in _ARM]
    return tuple(found)


def _current(views: Iterable[ProcessView]) -> list[ProcessView]:
    """The workers that share the work now; if none runs, the one that was the last to do so."""
    found = sorted(views, key=lambda view: view.at)
    return [view for view in found if view.fresh and view.state != "stopped"] or found[-1:]


def _stage(name: str, agent: str, workers: list[ProcessView], clock: int | None, process: str) -> StageView:
    # A worker that has not come as far holds partitions that nobody else has: the lowest counts.
    reached = min((view.reached[agent] for view in workers if agent in view.reached), default=None)
    behind = None
    if reached is not None and clock is not None:
        # At the end of a run stages say a minute more than there is, and they may report later than the feed.
        reached = min(reached, clock)
        behind = clock - reached
    return StageView(
        stage=name, reached=reached, behind_ms=behind, waits=_state(process, workers) or _streams(agent, workers)
    )


def _state(process: str, workers: list[ProcessView]) -> str:
    """Why the processes of a stage do not work; empty if all of them do."""
    if not workers:
        return f"no {process} has reported"
    unwell = []
    for view in workers:
        if view.state == "stopped":
            unwell.append(f"the {process} was stopped")
        elif not view.fresh:
            unwell.append(f"the {process} does not report any more")
        elif not view.ready or view.state != "running":
            which = f" {view.instance}" if len(workers) > 1 else ""
            unwell.append(f"the {process}{which} is {view.state}{f': {view.detail}' if view.detail else ''}")
    return "; ".join(unwell)


def _streams(agent: str, workers: list[ProcessView]) -> str:
    """The streams that the next records wait for, each with the shards that do."""
    found: dict[str, list[int]] = {}
    for view in workers:
        for place, streams in view.waiting.items():
            name, _, number = place.rpartition("/")
            if name == agent and number.isdecimal():
                found.setdefault(streams, []).append(int(number))
    alone = agent == "risk"  # the account lives on one partition
    return "; ".join(
        f"waits for {streams}" if alone else f"waits for {streams} (shard {', '.join(map(str, sorted(numbers)))})"
        for streams, numbers in sorted(found.items())
    )
