"""Random orders on the ticks of a real session: the desk beside a plain account of what each order must get."""
