"""Training objectives: networks and, for each batch, optimizer updates with their loss terms.

``stylize`` covers AnimeGAN v1 and v2, CartoonGAN and distillation, which differ only in which terms (``terms``) have a
weight; ``cycle`` is CycleGAN, ``noise`` is for faces from noise. Other packages can add objectives (``registry``).
"""

from animevid_trainer.objectives.cycle import CycleObjective, ImagePool
from animevid_trainer.objectives.features import FeatureCache
from animevid_trainer.objectives.noise import NoiseObjective
from animevid_trainer.objectives.registry import Parts, make, objective_names
from animevid_trainer.objectives.stylize import StylizeObjective

__all__ = [
    "CycleObjective",
    "FeatureCache",
    "ImagePool",
    "NoiseObjective",
    "Parts",
    "StylizeObjective",
    "make",
    "objective_names",
]
