"""The trader of a real broker: what it hears, what it says, and the courier that carries its calls."""
