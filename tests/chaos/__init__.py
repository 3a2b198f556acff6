"""The crash harness: real processes on real ticks are killed; what they leave equals an undisturbed run."""
