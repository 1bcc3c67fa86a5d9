"""Long jobs: conversion in segments, resumed after a crash, of many files, and on many machines."""

from animevid.jobs.cuts import DEFAULT_SEGMENT_SECONDS, cut_points
from animevid.jobs.job import Job, open_conversion

__all__ = ["DEFAULT_SEGMENT_SECONDS", "Job", "cut_points", "open_conversion"]
