"""The changelogs of a worker's tables."""

from __future__ import annotations

import faust

from panda_streams.streams.rows import changelogs, make_table


def test_changelogs_are_made_as_faust_would_make_them() -> None:
    app = faust.App("arm", broker="kafka://127.0.0.1", topic_partitions=4)
    table = make_table(app, "risk", "the account")

    ((name, spec),) = changelogs([table]).items()

    made = table._new_changelog_topic()
    configs = spec.configs(tick_retention_hours=1)
    assert name == made.topics[0] == "arm-risk-changelog"
    assert made.compacting
    assert not made.deleting
    assert configs["cleanup.policy"] == "compact"
    assert made.config.items() <= configs.items()
