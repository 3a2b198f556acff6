"""The torture of the Zerodha arm: its broker answers falsely, late or not at all, and processes die in between.

What kitesim's ledger has in the end, and what the arm says of its orders, fills and positions, must be the same.
"""
