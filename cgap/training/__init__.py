"""Training by continuous growth and pruning."""

from cgap.training.config import Config, load_config
from cgap.training.run import train

__all__ = ["Config", "load_config", "train"]
