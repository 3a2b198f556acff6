"""The embedded servers and the supervisor: what `panda up` runs by itself."""
