"""From a fixed-point graph to commands: the one schedule that every execution reads."""
