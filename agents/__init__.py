"""The agents: one module each, with its inputs, its row and its step. They join the domain and the streams."""
