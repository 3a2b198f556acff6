"""What trades: pure values and functions. Knows nothing of Kafka, files, clocks or the network."""
