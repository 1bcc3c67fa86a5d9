"""The preview window: the stylized camera, its statistics, and keyboard control (pygame-ce, which is SDL)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from animevid.errors import LiveError
from animevid.frame import Frame, StylizedFrame
from animevid.io.sink import Sink, SinkReport
from animevid.pixels import PlanesYUV420, compare_split, planes_to_rgb

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pygame

HELP = (
    ("S / Shift+S", "next or previous style"),
    ("Up / Down", "strength"),
    ("C", "compare with the original"),
    ("Left / Right", "move the line"),
    ("M", "mirror"),
    ("P", "snapshot"),
    ("R", "record"),
    ("I", "figures"),
    ("F", "full screen"),
    ("H", "this help"),
    ("Q / Esc", "quit"),
)


@dataclass(frozen=True, slots=True)
class View:
    """What the user has chosen. A key changes it; the webcam loop acts on it."""

    style_index: int = 0
    strength: float = 1.0
    compare: bool = False
    split_position: float = 0.5
    mirror: bool = False
    recording: bool = False
    snapshots: int = 0
    figures: bool = True
    help: bool = False
    full_screen: bool = False
    open: bool = True


def compose(result: StylizedFrame, view: View) -> PlanesYUV420:
    """The frame as ``view`` asks for it: stylized, or split by a line with the original on its left."""
    if not view.compare:
        return result.stylized
    return compare_split(result.frame.planes, result.stylized, position=view.split_position)


def pressed(view: View, key: str, *, styles: int, shift: bool = False) -> View:
    """``view`` after a key (its name in lower case, as pygame has it) with ``styles`` styles to choose from."""
    match key:
        case "s":
            return replace(view, style_index=(view.style_index + (-1 if shift else 1)) % max(1, styles))
        case "up" | "down":
            step = 0.1 if key == "up" else -0.1
            return replace(view, strength=min(1.0, max(0.0, round(view.strength + step, 1))))
        case "left" | "right":
            step = 0.05 if key == "right" else -0.05
            position = min(1.0, max(0.0, round(view.split_position + step, 2)))
            return replace(view, split_position=position, compare=True)
        case "c":
            return replace(view, compare=not view.compare)
        case "m":
            return replace(view, mirror=not view.mirror)
        case "p":
            return replace(view, snapshots=view.snapshots + 1)
        case "r":
            return replace(view, recording=not view.recording)
        case "i":
            return replace(view, figures=not view.figures)
        case "h" | "f1":
            return replace(view, help=not view.help)
        case "f":
            return replace(view, full_screen=not view.full_screen)
        case "q" | "escape":
            return replace(view, open=False)
    return view


#: SDL's drivers without a visible window.
_UNSEEN_DRIVERS = frozenset(("dummy", "offscreen", "evdev"))


def _driver_is_chosen() -> bool:
    """Whether the environment selects a driver of SDL, even an invisible one."""
    return bool({"SDL_VIDEODRIVER", "SDL_VIDEO_DRIVER"} & os.environ.keys())


def _has_screen() -> bool:
    """On Linux: whether there is a desktop, or a graphics card that works without one."""
    desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(desktop) or any(Path("/dev/dri").glob("card*"))


def _no_window(reason: str) -> LiveError:
    return LiveError(
        f"no window can be opened ({reason}): run it on a desktop, or use --no-window with --virtual-camera or "
        "--record, or animevid serve"
    )


class Window(Sink):
    """A window that shows frames at once, scaled to fit.

    ``lines`` and ``view`` may be set before each frame: the text over it, and what the user has chosen.

    Args:
        size (tuple[int, int]): (height, width) in pixels.
        title (str): its title. Default: ``"animevid"``.

    Raises:
        LiveError: pygame-ce is missing, or there is no screen.
    """

    path = "window"

    def __init__(self, *, size: tuple[int, int], title: str = "animevid") -> None:
        self.lines: Sequence[str] = ()
        self.view = View()
        #: When the last frame was passed to the screen, on ``time.monotonic``'s clock.
        self.shown_at_seconds = 0.0
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        for system in ("X11", "WAYLAND"):  # desktops and scripts identify the window by this, not by its title
            os.environ.setdefault(f"SDL_VIDEO_{system}_WMCLASS", "animevid")
        try:
            import pygame
        except ImportError as error:
            raise LiveError('pygame-ce is not installed: pip install "animevid[live]"') from error
        if sys.platform == "linux" and not _has_screen() and not _driver_is_chosen():
            raise _no_window("there is no display here")  # before SDL's libraries print errors
        self._pygame: ModuleType = pygame
        height, width = size
        try:
            pygame.display.init()
            pygame.font.init()
            # No vertical synchronization: waiting for the screen would add up to a frame of latency.
            self._screen = pygame.display.set_mode((width, height), pygame.RESIZABLE)
        except pygame.error as error:
            raise _no_window(str(error)) from error
        if pygame.display.get_driver() in _UNSEEN_DRIVERS and not _driver_is_chosen():
            # Without a desktop SDL silently draws into memory.
            pygame.quit()
            raise _no_window("there is no display here")
        pygame.display.set_caption(title)
        pygame.key.set_repeat(300, 60)
        self._small_size = (width, height)
        self._font = pygame.font.Font(None, 22)
        self._full_screen = False
        self._texts: dict[str, pygame.Surface] = {}

    @property
    def description(self) -> str:
        return "window"

    def _write(self, frame: Frame) -> None:
        pygame, planes, lines, view = self._pygame, frame.planes, self.lines, self.view
        if view.full_screen != self._full_screen:
            self._full_screen = view.full_screen
            flags = pygame.FULLSCREEN if view.full_screen else pygame.RESIZABLE
            self._screen = pygame.display.set_mode((0, 0) if view.full_screen else self._small_size, flags)
        surface = pygame.image.frombuffer(planes_to_rgb(planes), (planes.width, planes.height), "RGB")
        width, height = self._screen.get_size()
        scale = min(width / planes.width, height / planes.height)
        target = (max(1, round(planes.width * scale)), max(1, round(planes.height * scale)))
        if target != (planes.width, planes.height):
            surface = pygame.transform.smoothscale(surface, target)
        if target != (width, height):
            self._screen.fill((12, 12, 16))
        self._screen.blit(surface, ((width - target[0]) // 2, (height - target[1]) // 2))
        if view.figures:
            self._draw_lines(lines, top=10)
        if view.help:
            self._draw_lines([f"{keys}:  {what}" for keys, what in HELP], top=30 + 22 * len(lines))
        if view.recording:
            pygame.draw.circle(self._screen, (235, 60, 60), (width - 22, 22), 9)
        pygame.display.flip()
        self.shown_at_seconds = time.monotonic()
        self._count(frame.pts_seconds)

    def _finish(self) -> SinkReport:
        self._pygame.display.quit()
        return self._report()

    def abort(self) -> None:
        self._done = True
        self._pygame.display.quit()

    def pressed_keys(self) -> list[tuple[str, bool]]:
        """Keys pressed since the last call, as (name, with shift); closing the window is ``("q", False)``."""
        pygame = self._pygame
        found = []
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                found.append(("q", False))
            elif event.type == pygame.KEYDOWN:
                found.append((pygame.key.name(event.key), bool(event.mod & pygame.KMOD_SHIFT)))
        return found

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The current content: uint8 RGB ``(H, W, 3)``."""
        content: npt.NDArray[np.uint8] = self._pygame.surfarray.array3d(self._screen).swapaxes(0, 1)
        return content

    def _draw_lines(self, lines: Sequence[str], *, top: int) -> None:
        pygame = self._pygame
        texts = [self._text(line) for line in lines]
        if not texts:
            return
        box = pygame.Surface((max(text.get_width() for text in texts) + 16, 22 * len(texts) + 10), pygame.SRCALPHA)
        box.fill((10, 12, 20, 165))
        for row, text in enumerate(texts):
            box.blit(text, (8, 6 + 22 * row))
        self._screen.blit(box, (10, top))

    def _text(self, line: str) -> pygame.Surface:
        if line not in self._texts:
            if len(self._texts) > 200:  # the statistics change all the time
                self._texts.clear()
            self._texts[line] = self._font.render(line, True, (240, 244, 255))
        return self._texts[line]
