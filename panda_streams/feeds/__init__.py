"""What publishes market.ticks: recordings, the market simulator, and the batches and beats that both become."""
