"""Risk: one account's state, the rules that judge a signal against it, and what a verdict reserves."""
