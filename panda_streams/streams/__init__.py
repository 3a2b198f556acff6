"""How records are read, written and recovered: knows Kafka and Faust, nothing of trading."""
