"""Stages over bounded queues: each stage in its own thread, items in order, back-pressure, one error reported.

Independent of codecs and models: items are plain Python objects, stages are named functions.
"""

from animevid.run.pipeline import Pipeline
from animevid.run.queues import BoundedQueue, QueueCancelled, WhenFull
from animevid.run.stage import Stage
from animevid.run.statistics import PipelineStatistics, StageStatistics

__all__ = [
    "BoundedQueue",
    "Pipeline",
    "PipelineStatistics",
    "QueueCancelled",
    "Stage",
    "StageStatistics",
    "WhenFull",
]
