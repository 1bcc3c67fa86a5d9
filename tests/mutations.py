"""Breaks the losses and objectives in one place at a time and checks that the tests of terms fail.

``python tests/mutations.py`` from the repository's root applies each mutation to a copy of the trainer and runs
``test_terms.py`` and ``test_losses.py`` on it, or ``test_noise_*.py`` for faces from noise; ``--every N``
takes only each Nth mutation, as CI does. Ends with 1 if one survives. Processes are forked after torch is imported, so
that a mutation costs seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mutating import ROOT, Mutation, Mutator

PACKAGE = ROOT / "trainer" / "animevid_trainer"
_PRELOADED = (
    "animevid.errors", "animevid.styles", "cv2", "hypothesis", "numpy", "onnx.reference", "onnxruntime", "onnxscript",
    "pydantic", "pytest", "safetensors.torch", "torch", "torch.utils.tensorboard",
)  # fmt: skip
#: Nobody reads the output of a mutated copy: no assertion rewriting, no tracebacks.
_FAST = ("-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--tb=no", "-k", "not mutation and not resumes")
TESTS = ("tests/trainer/test_terms.py", "tests/trainer/test_losses.py")
NOISE_TESTS = ("tests/trainer/test_noise_networks.py", "tests/trainer/test_noise_objective.py")


def _loss(what: str, old: str, new: str) -> Mutation:
    return Mutation(what, "losses.py", old, new, TESTS[::-1])


def _term(what: str, old: str, new: str) -> Mutation:
    return Mutation(what, "objectives/terms.py", old, new, TESTS)


def _looking(what: str, old: str, new: str) -> Mutation:
    return Mutation(what, "objectives/features.py", old, new, TESTS)


def _stylize(what: str, old: str, new: str) -> Mutation:
    return Mutation(what, "objectives/stylize.py", old, new, TESTS)


def _noise(what: str, file: str, old: str, new: str) -> Mutation:
    return Mutation(what, file, old, new, NOISE_TESTS)


def _cycle(what: str, old: str, new: str) -> Mutation:
    return Mutation(what, "objectives/cycle.py", old, new, TESTS)


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
    _looking(
        "content against art",
        'self.kept("photo", batch.photo_keys, batch.photo,',
        'self.kept("photo", batch.photo_keys, batch.art,',
    ),
    _looking(
        "Gram on coloured art",
        "batch.art_gray if self._art_is_gray else batch.art",
        "batch.art if self._art_is_gray else batch.art_gray",
    ),
    _looking(
        "what style is taken from ignored",
        'self._art_is_gray = recipe.style_on == "gray"',
        "self._art_is_gray = True",
    ),
    _looking(
        "perceptual against the photo",
        'needed(batch.target, "targets"), (layer,)',
        "batch.photo, (layer,)",
    ),
    _looking("the teacher's layer ignored", "choice.teacher_layer or self.content_layer", "self.content_layer"),
    _term(
        "total variation of the photo",
        "losses.total_variation_loss(scene.output)",
        "losses.total_variation_loss(scene.batch.photo)",
    ),
    _term(
        "student compared with the photo",
        'losses.pixel_loss(scene.output, needed(scene.batch.target, "targets"))',
        "losses.pixel_loss(scene.output, scene.batch.photo)",
    ),
    _term("gradient always of the photo", "batch.photo if batch.target is None else batch.target", "batch.photo"),
    _term(
        "gradient always of the teacher's image",
        "batch.photo if batch.target is None else batch.target",
        "batch.target",
    ),
    _term(
        "colour against the teacher's image",
        "losses.colour_loss(scene.output, scene.batch.photo,",
        "losses.colour_loss(scene.output, scene.batch.target,",
    ),
    _term(
        "flatness by the output's own edges",
        "losses.flatness_loss(scene.output, scene.batch.photo)",
        "losses.flatness_loss(scene.output, scene.output)",
    ),
    _term(
        "temporal: photo not relit",
        "expected = change.relight(change.geometry(scene.output))",
        "expected = change.geometry(scene.output)",
    ),
    _term(
        "temporal: output not moved", "change.relight(change.geometry(scene.output))", "change.relight(scene.output)"
    ),
    _term("temporal: the same frame twice", "change.frame(scene.batch.photo)", "scene.batch.photo"),
    _stylize("gray negatives in colour", 'needed(batch.art_gray, "gray art")', 'needed(batch.art, "gray art")'),
    _stylize(
        "smooth negatives of the other kind",
        'self.recipe.smooth_negatives == "colour"',
        'self.recipe.smooth_negatives == "gray"',
    ),
    _stylize(
        "art and output of D swapped",
        '{"real": needed(batch.art, "art"), "fake": output.images}',
        '{"real": output.images, "fake": needed(batch.art, "art")}',
    ),
    _stylize(
        "pairs of D swapped",
        '{"real": needed(batch.target, "targets"), "fake": output.images}',
        '{"real": output.images, "fake": needed(batch.target, "targets")}',
    ),
    _stylize(
        "D sees no photo beside the image", "torch.cat((batch.photo, images), 1)", "torch.cat((images, images), 1)"
    ),
    _stylize(
        "real pairs are of art", "if self.recipe.conditional:\n            return", "if False:\n            return"
    ),
    _stylize("adversarial weight dropped", "Term(raw, self.recipe.losses.adversarial)", "Term(raw, 1.0)"),
    _stylize("weights of G's terms dropped", "compute(scene), weight)", "compute(scene), 1.0)"),
    _stylize("D's overall weight dropped", "weights.overall * getattr(weights, name)", "getattr(weights, name)"),
    _stylize("D's weights dropped", "weights.overall * getattr(weights, name)", "weights.overall"),
    _stylize(
        "content kept where a phase leaves it out", '() if self.plan.at(step).phase.content else ("content",)', "()"
    ),
    _stylize(
        "output not detached in D's step",
        "self._discriminator_terms(batch, output.detach())",
        "self._discriminator_terms(batch, output)",
    ),
    _stylize("initial phase never ends", "if phase.content_only:\n            yield", "if True:\n            yield"),
    _stylize(
        "adversarial in every phase",
        "if not (self.recipe.uses_discriminator and phase.adversarial):",
        "if not self.recipe.uses_discriminator:",
    ),
    _stylize(
        "initial phase has another weight",
        "self.recipe.init_content_weight)}",
        "2.0 * self.recipe.init_content_weight)}",
    ),
    _stylize("one D step where several are asked for", "range(optimizer.discriminator_steps)", "range(1)"),
    _stylize("D never rests", "batch.step % optimizer.discriminator_every == 0", "True"),
    _stylize("kinds mixed in batch norm", "if self.discriminates_apart or", "if False or"),
    _cycle(
        "cycle against the wrong image",
        'self.run("backward_generator", fake_art), photo)',
        'self.run("backward_generator", fake_art), art)',
    ),
    _cycle(
        "cycle back by the wrong generator",
        'self.run("generator", fake_photo), art)',
        'self.run("backward_generator", fake_photo), art)',
    ),
    _cycle("cycle's weight dropped", "fake_art), photo), weights.cycle)", "fake_art), photo), 1.0)"),
    _cycle(
        "identity on the wrong domain",
        'losses.identity_loss(self.run("generator", art), art)',
        'losses.identity_loss(self.run("generator", photo), photo)',
    ),
    _cycle("pool bypassed", 'self.pools["art"].exchange(fake_art)', "fake_art"),
    _cycle("pools swapped", 'self.pools["photo"].exchange(fake_photo)', 'self.pools["art"].exchange(fake_photo)'),
    _cycle("cycle's fakes not detached", "torch.cat((real, fake.detach()))", "torch.cat((real, fake))"),
    _cycle(
        "backward adversarial by the wrong discriminator",
        'self._logits("photo_discriminator", fake_photo)',
        'self._logits("discriminator", fake_photo)',
    ),
    _cycle("cycle's D at full weight", "weights.overall * getattr(weights, kind)", "weights.overall"),
    Mutation("what is minimized has no weight", "loop.py", "return self.weight * self.raw", "return self.raw", TESTS),
    _noise("minimax: sign", "losses.py", "return -F.softplus(fake_logits)", "return F.softplus(fake_logits)"),
    _noise("R1 without its half", "regularizers.py", "return 0.5 * gradient", "return gradient"),
    _noise("R1 over all images at once", "regularizers.py", ".flatten(1).sum(1).mean()", ".sum()"),
    _noise(
        "R1 not regularized",
        "regularizers.py",
        "discriminator(seen).sum(), seen, create_graph=True",
        "discriminator(seen).sum(), seen",
    ),
    _noise("path: rows summed", "regularizers.py", ".sum(2).mean(1).sqrt()", ".sum((1, 2)).sqrt()"),
    _noise("path: not by the size", "regularizers.py", "math.sqrt(images.shape[2] * images.shape[3])", "1.0"),
    _noise("path: from no mean", "regularizers.py", "(lengths - mean).square()", "lengths.square()"),
    _noise(
        "from noise: real and drawn swapped",
        "objectives/noise.py",
        '{"real": self._discriminate(real), "fake": self._discriminate(fake)}',
        '{"real": self._discriminate(fake), "fake": self._discriminate(real)}',
    ),
    _noise("from noise: R1 at full count", "objectives/noise.py", "own.r1 * own.r1_every)", "own.r1)"),
    _noise("from noise: R1 in each step", "objectives/noise.py", "step % own.r1_every == 0", "True"),
    _noise("from noise: R1 as D never sees it", "objectives/noise.py", "self._augmented(real))", "real)"),
    _noise("from noise: path at full count", "objectives/noise.py", "own.path_length_every)}", "1)}"),
    _noise("from noise: path's mean still", "objectives/noise.py", "_PATH_MEAN_RATE = 0.01", "_PATH_MEAN_RATE = 0.0"),
    _noise("from noise: Adam not corrected", "objectives/noise.py", "every / (every + 1.0) if every", "1.0 if every"),
    _noise(
        "from noise: k ignored", "objectives/noise.py", "range(self.recipe.optimizer.discriminator_steps)", "range(1)"
    ),
    _noise("from noise: G's images unaugmented", "objectives/noise.py", "images = self._augmented(images)", "pass"),
    _noise("attention: questions and answers swapped", "attention.py", "(asking, asked, told", "(asked, asking, told"),
    _noise("attention: scaled", "attention.py", "scale=1.0", "scale=0.5"),
    _noise("attention: nothing beside it", "attention.py", "self.v(seen) + x", "self.v(seen)"),
    _noise("style: not demodulated", "style_layers.py", "if not demodulate:", "if True:"),
    _noise("style: demodulated by the weights alone", "style_layers.py", "* scales.square().unsqueeze(1)", "* 1.0"),
    _noise("style: filter without gain", "style_layers.py", "pad=1, gain=4.0", "pad=1, gain=1.0"),
    _noise("style: AdaIN without shift", "style_layers.py", "+ shift[:, :, None, None]", ""),
    _noise("style: biased deviation", "style_layers.py", "unbiased=False", "unbiased=True"),
    _noise("style: no mixing", "generators/stylegan2.py", "return self._mixed(w) if", "return self.repeated(w) if"),
    _noise(
        "style: mixed the wrong way round",
        "generators/stylegan2.py",
        "(self.layers, device=w.device) < c",
        "(self.layers, device=w.device) >= c",
    ),
    _noise(
        "style: noise still in training",
        "generators/stylegan2.py",
        "if self.training else self.noise",
        "if False else self.noise",
    ),
    _noise("truncation the wrong way", "generators/noise.py", "lerp(styles, strength)", "lerp(styles, 1.0 - strength)"),
)


def _one_thread() -> None:
    sys.modules["torch"].set_num_threads(1)


MUTATOR = Mutator(PACKAGE, _PRELOADED, _FAST, refused=(3, 4, 5), prepare=_one_thread)


def main(arguments: Sequence[str] | None = None) -> int:
    return MUTATOR.main(MUTATIONS, arguments, script=__file__, about=__doc__)


if __name__ == "__main__":
    sys.exit(main())
