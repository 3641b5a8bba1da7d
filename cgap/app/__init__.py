"""What each command of `cgap` does."""
