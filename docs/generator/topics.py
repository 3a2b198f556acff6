"""docs/topics.md: the topics."""

from __future__ import annotations

from docs.generator.markdown import GENERATED, table
from panda_streams.topics import ARM_TOPICS, BRAIN_DLQ, SHARED_TOPICS, TopicSpec

__all__ = ["topics_page"]


def topics_page() -> str:
    rows = [_topic_row(spec.name, spec) for spec in (*SHARED_TOPICS, BRAIN_DLQ)]
    rows += [_topic_row(f"<ns>.{spec.name}", spec) for spec in ARM_TOPICS]
    return f"""# Topics

{GENERATED.format(source="panda_streams/topics.py")}

`<ns>` is the namespace of a broker account, as `paper`. All topics have the same number of partitions
(PANDA_PARTITIONS), and the key decides the partition, so that every fact has one home. On a Kafka that you give,
each name starts with the world, as `sim.market.ticks` (PANDA_TOPIC_PREFIX). [events.md](events.md) shows the values.

{table(("topic", "key", "value", "read by", "kept"), rows)}"""


def _topic_row(name: str, spec: TopicSpec) -> tuple[str, ...]:
    if spec.compacted:
        kept = "last value of each key"
    elif spec.retention_hours is None:
        kept = "PANDA_TICK_RETENTION_HOURS"
    elif spec.retention_hours < 48:
        kept = f"{spec.retention_hours} hours"
    else:
        kept = f"{spec.retention_hours // 24} days"
    return f"`{name}`", spec.key.value, spec.value, spec.readers, kept
