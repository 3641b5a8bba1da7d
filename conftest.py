"""Settings for the whole suite."""

import os

from hypothesis import settings

# The suite runs in as many processes as there are cores: threads of PyTorch's would wait for each other by spinning.
# Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No time limit per example: on a machine busy with other work, a slow example is no defect.
settings.register_profile("cgap", deadline=None)
settings.load_profile("cgap")
