"""Breaks the losses and objectives in one place at a time and asks the tests of terms to notice.

``python tests/mutations.py`` from the repository's root applies each mutation to a copy of the trainer and runs
``test_terms.py`` and ``test_losses.py`` on it; ``--every N`` takes each Nth mutation only, as CI does. Ends with 1 if
one survives. Processes are forked after torch is imported, so that a mutation costs seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "trainer" / "animevid_trainer"
TESTS = ("tests/trainer/test_terms.py", "tests/trainer/test_losses.py")


@dataclass(frozen=True, slots=True)
class Mutation:
    """``old``, which is in ``file`` once, becomes ``new``."""

    what: str
    file: str
    old: str
    new: str


def _loss(what: str, old: str, new: str) -> Mutation:
    return Mutation(what, "losses.py", old, new)


def _objective(what: str, old: str, new: str) -> Mutation:
    return Mutation(what, "objectives.py", old, new)


MUTATIONS: tuple[Mutation, ...] = (
    _loss("least squares: real's target", "(logits - 1.0).square().mean()", "(logits + 1.0).square().mean()"),
    _loss("least squares: fake's target", "return logits.square().mean()", "return (logits - 1.0).square().mean()"),
    _loss("cross entropy: real's sign", "F.softplus(-logits).mean()", "F.softplus(logits + 0.0).mean()"),
    _loss("cross entropy: fake's sign", "return F.softplus(logits).mean()", "return F.softplus(-1.0 * logits).mean()"),
    _loss("hinge: G's sign", "return -fake_logits.mean()", "return fake_logits.mean()"),
    _loss(
        "G is trained towards fake",
        "return real_loss(fake_logits, kind=kind)",
        "return fake_loss(fake_logits, kind=kind)",
    ),
    _loss("real and fake of D swapped", 'if name == "real" else', 'if name != "real" else'),
    _loss("D's overall weight dropped", "name: overall * weights", "name: 1.0 * weights"),
    _loss("D's weights dropped", "* weights[name]", "* 1.0"),
    _loss("content squared", "(features - photo_features).abs()", "(features - photo_features).square()"),
    _loss("Gram not divided by channels", "/ (c * h * w)", "/ (h * w)"),
    _loss("style squared", "(gram - style_gram).abs()", "(gram - style_gram).square()"),
    _loss("colour without V", "+ F.huber_loss(ours[:, 2], theirs[:, 2], delta=1.0)", "+ 0.0"),
    _loss("colour: U for Y'", "difference[:, 0].abs()", "difference[:, 1].abs()"),
    _loss("colour range", "(images + 1.0) * 0.5)", "images * 0.5)"),
    _loss("total variation not halved", "0.5 * right.square()", "1.0 * right.square()"),
    _loss("pixel squared", "return (images - targets).abs().mean()", "return (images - targets).square().mean()"),
    _loss("Sobel not normalized", "(-1.0, 0.0, 1.0))) / 8.0", "(-1.0, 0.0, 1.0))) / 4.0"),
    _loss("flatness spares flat areas", "torch.exp(-edge_scale * edge)", "(1.0 - torch.exp(-edge_scale * edge))"),
    _loss("temporal ignores what is valid", "(difference * weight).sum() / weight", "difference.sum() / weight"),
    _objective(
        "content against the teacher's picture",
        'self._cached_features("photo", batch.photo_keys, batch.photo,',
        'self._cached_features("photo", batch.photo_keys, batch.art,',
    ),
    _objective(
        "Gram on coloured art",
        "batch.art_gray if self.style_on_gray else batch.art",
        "batch.art if self.style_on_gray else batch.art_gray",
    ),
    _objective("gray negatives in colour", '_needed(batch.art_gray, "gray art")', '_needed(batch.art, "gray art")'),
    _objective(
        "art and output of D swapped",
        '[("real", art), ("fake", output.images)]',
        '[("real", output.images), ("fake", art)]',
    ),
    _objective("adversarial weight dropped", "weights.adversarial * adversarial", "1.0 * adversarial"),
    _objective("style weight dropped", "weights.style * torch.stack", "1.0 * torch.stack"),
    _objective("content weight dropped", "weights.content * losses.content_loss", "1.0 * losses.content_loss"),
    _objective("colour weight dropped", "weights.colour * colour", "1.0 * colour"),
    _objective(
        "total variation of the photo",
        "losses.total_variation_loss(output)",
        "losses.total_variation_loss(batch.photo)",
    ),
    _objective("total variation's weight dropped", "weights.total_variation * losses", "2.0 * losses"),
    _objective(
        "student compared with the photo",
        'losses.pixel_loss(output, _needed(batch.target, "targets"))',
        "losses.pixel_loss(output, batch.photo)",
    ),
    _objective(
        "perceptual against the photo",
        'self._features(_needed(batch.target, "targets"), perceptual)',
        "self._features(batch.photo, perceptual)",
    ),
    _objective("gradient always of the photo", "batch.photo if batch.target is None else batch.target", "batch.photo"),
    _objective(
        "colour against the teacher's picture",
        "losses.colour_loss(output, batch.photo,",
        "losses.colour_loss(output, batch.target,",
    ),
    _objective(
        "output not detached in D's step",
        "self._discriminator_terms(batch, output.detach())",
        "self._discriminator_terms(batch, output)",
    ),
    _objective("initial phase never ends", "if phase.content_only:\n            yield", "if True:\n            yield"),
    _objective(
        "adversarial in every phase",
        "if not (self.weights.adversarial and phase.adversarial):",
        "if not self.weights.adversarial:",
    ),
    _objective(
        "initial phase has another weight",
        'return {"content": self.weights.init_content *',
        'return {"content": 2.0 * self.weights.init_content *',
    ),
    _objective("one D step where several are asked for", "range(self.discriminator_steps)", "range(1)"),
    _objective("kinds mixed in batch norm", "elif self.judges_apart:", "elif False:"),
    _objective(
        "temporal: photo not relit",
        "expected = change.relight(change.geometry(output))",
        "expected = change.geometry(output)",
    ),
    _objective("temporal: output not moved", "change.relight(change.geometry(output))", "change.relight(output)"),
    _objective(
        "cycle against the wrong picture",
        'self.run("backward_generator", fake_art), photo)',
        'self.run("backward_generator", fake_art), art)',
    ),
    _objective(
        "cycle back by the wrong generator",
        'self.run("generator", fake_photo), art)',
        'self.run("backward_generator", fake_photo), art)',
    ),
    _objective(
        "identity on the wrong domain",
        'losses.identity_loss(self.run("generator", art), art)',
        'losses.identity_loss(self.run("generator", photo), photo)',
    ),
    _objective("pool bypassed", 'self.pools["art"].exchange(fake_art)', "fake_art"),
    _objective("pools swapped", 'self.pools["photo"].exchange(fake_photo)', 'self.pools["art"].exchange(fake_photo)'),
    _objective("cycle's fakes not detached", "torch.cat((real, fake.detach()))", "torch.cat((real, fake))"),
    _objective(
        "backward adversarial by the wrong judge",
        'self._judge("photo_discriminator", fake_photo)',
        'self._judge("discriminator", fake_photo)',
    ),
    Mutation("overall weight of D not passed on", "build.py", "discriminator=judge.overall", "discriminator=1.0"),
    Mutation("gray weight of D not passed on", "build.py", "gray=judge.gray", "gray=judge.smooth"),
    Mutation(
        "what style is taken from not passed on",
        "build.py",
        'style_on_gray=recipe.style_on == "gray"',
        "style_on_gray=True, **{}",
    ),
)


def _survives(mutation: Mutation, folder: Path) -> bool:
    """Whether the tests pass on a copy that is broken by ``mutation``, in a process of its own."""
    copy = folder / "animevid_trainer"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    source = (copy / mutation.file).read_text()
    if source.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.what}: {mutation.old!r} is {source.count(mutation.old)} times in {mutation.file}")
    (copy / mutation.file).write_text(source.replace(mutation.old, mutation.new))
    child = os.fork()
    if child == 0:
        code = 3
        try:
            import pytest

            sys.path[:] = [str(folder), *(p for p in sys.path if Path(p or ".").resolve() != PACKAGE.parent)]
            sys.dont_write_bytecode = True
            os.chdir(ROOT)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-k", "not mutation", *TESTS]))
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, 1, 2):  # 2: the broken module cannot even be imported
        raise SystemExit(f"{mutation.what}: pytest ended with {code}")
    return code == 0


def run(mutations: Sequence[Mutation]) -> list[str]:
    """The mutations that no test notices, printed as they are found."""
    import cv2  # noqa: F401
    import torch

    torch.set_num_threads(1)
    survivors: list[str] = []
    for mutation in mutations:
        with tempfile.TemporaryDirectory() as folder:
            survived = _survives(mutation, Path(folder))
        print(f"{'SURVIVED' if survived else 'caught  '}  {mutation.file}: {mutation.what}", flush=True)
        if survived:
            survivors.append(mutation.what)
    print(f"{len(mutations) - len(survivors)} of {len(mutations)} mutations caught")
    return survivors


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth mutation only")
    parser.add_argument("--only", default="", metavar="WORD", help="mutations with this in their description")
    args = parser.parse_args(arguments)
    if arguments is not None:  # from a test, whose process has the trainer loaded already
        command = [sys.executable, __file__, *arguments]
        return subprocess.run(
            command, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ).returncode
    chosen = [mutation for mutation in MUTATIONS if args.only in mutation.what][:: args.every]
    return 1 if run(chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
