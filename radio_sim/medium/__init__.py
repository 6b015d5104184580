"""The medium: see `air` for one event at a time, `batch` for many frames at once."""

from radio_sim.medium.air import Delivery, Medium, Reach, Transmission
from radio_sim.medium.config import US, MediumConfig

__all__ = ["US", "Delivery", "Medium", "MediumConfig", "Reach", "Transmission"]
