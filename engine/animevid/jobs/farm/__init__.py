"""Converts one video on many machines, with Ray (``pip install "animevid[farm]"``)."""

from animevid.jobs.farm.driver import Farm

__all__ = ["Farm"]
