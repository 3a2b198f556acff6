"""What the brain knows of a shard: its strategies' states, last ticks, what contracts stand for; and its step."""
