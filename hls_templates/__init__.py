"""Jinja2 templates of the emitted hardware, read as package data by `cgap.backends.hls`."""
