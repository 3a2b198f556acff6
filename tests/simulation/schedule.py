"""A random schedule: whose turn it is, how far it gets, what is held back, and who is killed where."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from tests.simulation.market import PARTITIONS
from tests.simulation.runner import Runner, Turn
from tests.simulation.world import Feed, World

__all__ = ["FULL", "Bounds", "Mode", "disturb"]

_MOST = 1000
"""Turns of a schedule; what is left then is done undisturbed."""


class Mode(StrEnum):
    """What a schedule leans to."""

    ANY = "any"
    TICKS_AHEAD = "ticks ahead"
    """The tick topic is complete, and execution has what it can take, before risk gets its first turn."""
    LATE_ARM = "late arm"
    """Feed and brain have come to the end before any arm starts."""
    SLOW_BRAIN = "slow brain"
    """A shard of the brain gets no turn for a while."""
    SLOW_EXECUTION = "slow execution"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a schedule is carried out: shrinking lowers them."""

    turns: int = _MOST
    kills: int = 10**9
    retries: bool = True
    """Sends that stand in the log twice."""
    skips: bool = True
    """Records that are not delivered."""
    litter: bool = True
    """Records that nobody can decode."""


FULL = Bounds()
"""All of a schedule."""


class _Schedule:
    def __init__(self, world: World, chance: random.Random, bounds: Bounds) -> None:
        self._world = world
        self._chance = chance
        self._bounds = bounds
        self._turns = 0
        self._kills = 0
        self._killing = chance.choice([0, 0.02, 0.05, 0.2])
        self._lose = chance.choice([0, 0.3])
        self._skip = chance.choice([0, 0, 0.1, 0.4]) if bounds.skips else 0
        world.logs.retried = chance.choice([0, 0, 0.05, 0.3]) if bounds.retries else 0
        world.logs.littered = chance.choice([0, 0, 0.1]) if bounds.litter else 0
        self._plan = Turn()

    def run(self) -> None:
        world, chance = self._world, self._chance
        mode = chance.choice(list(Mode))
        everyone: list[Feed | Runner] = [world.feed, *world.runners]
        if mode in (Mode.TICKS_AHEAD, Mode.LATE_ARM):
            execution = [runner for arm in world.arms for runner in arm.execution]
            first: list[Feed | Runner] = [world.feed, *world.brain, *(execution if mode is Mode.TICKS_AHEAD else [])]
            while self._period(first, mode):
                if not any([self._turn(actor) for actor in first for _ in range(2)]):
                    break
        while self._period(everyone, mode):
            pass

    def _period(self, actors: list[Feed | Runner], mode: Mode) -> bool:
        """A while in which some get many turns and some get none; False once the schedule is over."""
        chance = self._chance
        weights = [chance.choice([0, 0.1, 1, 1, 1, 1, 5, 20]) for _ in actors]
        for n, actor in enumerate(actors):
            if isinstance(actor, Runner) and chance.random() < 0.6:
                slow = {Mode.SLOW_BRAIN: "strategy/", Mode.SLOW_EXECUTION: "execution/"}.get(mode)
                if slow and actor.name == f"{slow}{chance.randrange(PARTITIONS)}":
                    weights[n] = 0
        if not any(weights):
            weights[0] = 1
        inputs = [
            (source.topic, actor.partition)
            for actor in actors
            if isinstance(actor, Runner)
            for source in actor.agent.inputs
        ]
        self._plan = Turn(
            fetched=chance.choice([1, 3, 10, 1000]),
            handled=chance.choice([1, 2, 7, 2000]),
            starved=frozenset(chance.sample(inputs, chance.choice([0, 0, 1, 2]))) if inputs else frozenset(),
            skip=self._skip,
            due=chance.choice([0, 0.1, 0.5, 1]),
            tail=chance.choice([0, 0.02, 0.2, 1]),
            lose=self._lose,
            second=chance.choice([0.0, 0.1, 2.0]),
        )
        idle = 0
        for actor in chance.choices(actors, weights, k=chance.randrange(10, 120)):
            if self._turns >= self._bounds.turns:
                return False
            idle = 0 if self._turn(actor) else idle + 1
            if idle > 10:
                # Nobody who has turns now can do anything: at the end of everything, nobody at all.
                return not self._world.done
        return True

    def _turn(self, actor: Feed | Runner) -> bool:
        chance = self._chance
        self._turns += 1
        killed = chance.random() < self._killing
        life = chance.choice([0, 1, 2, 3, 4, 5, 6, 7, 20])
        stopped = chance.random() < 0.003
        if killed:
            self._kills += 1
            killed = self._kills <= self._bounds.kills
        if isinstance(actor, Feed):
            return actor.take_turn(1 + life % 4, killed=chance if killed else None)
        if stopped:
            actor.stop()
        if killed and actor.life is None:
            actor.life = life
        return actor.take_turn(self._plan)


def disturb(world: World, chance: random.Random, bounds: Bounds) -> None:
    """Let a world run under a schedule that `chance` draws."""
    _Schedule(world, chance, bounds).run()
