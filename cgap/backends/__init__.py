"""What a schedule is turned into: a folder a backend, and what they share in `common`."""
