"""What execution keeps of a shard: its rows decoded, ticks that passed, verdicts that could not be read."""
