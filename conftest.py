"""Settings for the whole suite."""

from hypothesis import settings

# No time limit per example: on a machine busy with other work, a slow example is no defect.
settings.register_profile("cgap", deadline=None)
settings.load_profile("cgap")
