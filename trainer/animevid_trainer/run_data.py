"""The images of a run: reads, splits and prepares folders, and makes batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from animevid.errors import TrainingError

from animevid_trainer.data.batches import ArtCrops, BatchSource, CropCache, Images, PhotoCrops
from animevid_trainer.data.brightness import StyleStatistics, balance, compensate_exposure, measure_style
from animevid_trainer.data.crops import CropSettings
from animevid_trainer.data.flats import flat_images
from animevid_trainer.data.images import Image, ImageStore, find_images, open_images, shrink_to
from animevid_trainer.data.sampler import SeededSampler
from animevid_trainer.data.split import split_by_name
from animevid_trainer.data.targets import Teacher, target_of
from animevid_trainer.distributed import SINGLE, World
from animevid_trainer.plan import Plan, make_plan
from animevid_trainer.recipes import Data, Recipe

log = logging.getLogger(__name__)


#: each set's share of the memory for images
_SHARES = {"photos": 0.5, "faces": 0.9, "art": 0.4, "validation photos": 0.1}


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Where images come from and how they are cached.

    ``photo_crops``/``art_crops``: 0 draws fresh crops; k draws from k fixed crops of each image, whose VGG features
    (photos) and Gram matrices (art) are then computed once and cached in ``cache_bytes`` of memory.
    ``target_sizes_px``: longest sides at which a teacher draws each photo; a crop is taken from one of them.
    """

    photos: Path
    art: Path | None = None
    validation_fraction: float = 0.05
    seed: int = 1
    photo_crops: int = 0
    art_crops: int = 16
    memory_bytes: int = 8 << 30
    cache_bytes: int = 2 << 30
    longest_px: int = 0
    target_sizes_px: tuple[int, ...] = ()
    target_cache: Path | None = None
    threads: int = 2


@dataclass
class RunData:
    """Images of a run. ``validation`` photos are never trained on."""

    photos: Images
    validation: ImageStore | list[Image]
    art: Images | None = None
    targets: Images | None = None
    statistics: StyleStatistics | None = None
    unreadable: list[str] = field(default_factory=list)


def open_data(
    recipe: Recipe,
    settings: DataSettings,
    *,
    teacher: Teacher | None = None,
    teacher_key: str = "",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> RunData:
    """Read the folders, split off validation photos, prepare the art, and make the teacher's images.

    Raises:
        TrainingError: an empty or unreadable folder, no art where the recipe needs some.
    """

    def report(what: str) -> Callable[[int, int], None] | None:
        return None if on_progress is None else lambda done, total: on_progress(what, done, total)

    training, validation = split_by_name(find_images(settings.photos), validation_fraction=settings.validation_fraction)
    if not training:
        raise TrainingError(
            f"all {len(validation)} photos in {str(settings.photos)!r} fall into the validation split "
            f"(--validation {settings.validation_fraction}); give more photos or a smaller fraction"
        )

    def read(paths: Sequence[Path], what: str, longest_px: int = settings.longest_px) -> ImageStore:
        return open_images(
            paths,
            what=what,
            budget_bytes=int(settings.memory_bytes * _SHARES[what]),
            longest_px=longest_px,
            threads=settings.threads,
            on_progress=report(what),
        )

    what = "faces" if recipe.from_noise else "photos"
    photos = read(training, what)
    data = RunData(photos, read(validation, "validation photos", 1024) if validation else [])
    data.unreadable += photos.unreadable
    smallest = min(place.crop_px for place in make_plan_of(recipe, photos=len(photos)).spans)
    small = sum(min(photos[index].shape[:2]) < smallest for index in range(len(photos)))
    if small:
        log.warning("%d of %d %s are smaller than a crop (%d px) and are enlarged", small, len(photos), what, smallest)
    if recipe.needs_art:
        if settings.art is None:
            raise TrainingError(f"recipe {recipe.name!r} learns from art; give a folder of drawings with --art")
        art = read(find_images(settings.art), "art")
        data.unreadable += art.unreadable
        if len(art) == 1:
            log.warning("one art image only: the style will be that image's; give a few dozen for a style")
        data.statistics = measure_style(art[index] for index in range(len(art)))
        data.art = PreparedArt(art, recipe.data, data.statistics)
    if recipe.needs_teacher:
        if teacher is None:
            raise TrainingError(f"recipe {recipe.name!r} learns from a teacher; give one with --teacher")
        data.photos, data.targets = draw_targets(
            photos, teacher, teacher_key=teacher_key, settings=settings, on_progress=report("targets")
        )
        flats = flat_images(recipe.data.flat_images, seed=settings.seed)
        data.photos += flats
        data.targets += [teacher(flat) for flat in flats]
    return data


def check_folders(photos: Path, art: Path | None) -> None:
    """Reject empty folders, and the same folder for both, before reading images.

    Raises:
        TrainingError: a folder without images, or ``art`` is the folder of photos.
    """
    find_images(photos)
    if art is None:
        return
    find_images(art)
    photos, art = photos.resolve(), art.resolve()
    if photos == art:
        raise TrainingError(
            f"--photos and --art are the same folder ({str(art)!r}): a style is the difference between the two; "
            "give photos with one and drawings with the other"
        )
    if photos in art.parents:
        log.warning("--art lies inside --photos, so the drawings are trained on as photos too; move one of them")
    elif art in photos.parents:
        log.warning("--photos lies inside --art, so the photos are trained on as drawings too; move one of them")


@dataclass(frozen=True)
class PreparedArt:
    """The art prepared for training: brightened if too dark, and without the set's colour cast, as the recipe says.

    An image is prepared when it is requested, so a set need not fit into memory.
    """

    art: Images
    settings: Data
    statistics: StyleStatistics

    def __len__(self) -> int:
        return len(self.art)

    def __getitem__(self, index: int) -> Image:
        image = self.art[index]
        if self.settings.lowest_art_brightness:
            image = compensate_exposure(image, lowest_brightness=self.settings.lowest_art_brightness)
        return balance(image, self.statistics) if self.settings.balance_art else image


def draw_targets(
    photos: Images,
    teacher: Teacher,
    *,
    teacher_key: str,
    settings: DataSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Image], list[Image]]:
    """Photos at each of the sizes, and the teacher's image of each (from the cache where it is there)."""
    sizes = settings.target_sizes_px or (0,)
    sources: list[Image] = []
    targets: list[Image] = []
    for index in range(len(photos)):
        for size in sizes:
            photo = shrink_to(photos[index], size) if size else photos[index]
            sources.append(photo)
            targets.append(target_of(photo, teacher, teacher_key=teacher_key, cache_folder=settings.target_cache))
        if on_progress is not None:
            on_progress(index + 1, len(photos))
    return sources, targets


def make_plan_of(recipe: Recipe, *, photos: int) -> Plan:
    """The recipe's phases for a set of ``photos`` photos."""
    return make_plan(recipe.phases, photos=photos, batch=recipe.data.batch, crop_px=recipe.data.crop_px)


def make_source(
    recipe: Recipe, data: RunData, plan: Plan, settings: DataSettings, *, world: World = SINGLE
) -> BatchSource:
    """Batches of ``data`` for the plan; this process's share of each."""
    drawn = recipe.data
    crop = CropSettings(
        drawn.crop_px, (drawn.crop_scale_low, drawn.crop_scale_high), flip=drawn.flip, whole=drawn.whole
    )

    def sampler(count: int, stream: str) -> SeededSampler:
        return SeededSampler(count, recipe.data.batch, settings.seed, stream, world.rank, world.size)

    for place in plan.spans:
        if place.batch % world.size:
            raise TrainingError(
                f"a batch of {place.batch} cannot be split over {world.size} processes; change data.batch"
            )
    photos = PhotoCrops(data.photos, sampler(len(data.photos), "photos"), crop, data.targets, settings.photo_crops)
    if data.art is None:
        return BatchSource(photos, plan)
    with_edges = recipe.discriminator_losses.smooth > 0 and recipe.uses_discriminator
    art = ArtCrops(
        data.art,
        sampler(len(data.art), "art"),
        crop,
        with_edges=with_edges,
        crops_per_image=settings.art_crops,
        cache=CropCache(settings.cache_bytes // 2),
    )
    return BatchSource(photos, plan, art)
