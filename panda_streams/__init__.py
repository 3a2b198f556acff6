"""panda_streams: one brain, one isolated arm per broker, over Kafka."""

__version__ = "0.1.0"
