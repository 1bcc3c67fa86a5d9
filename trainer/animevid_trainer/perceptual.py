"""Perceptual networks: VGG19, VGG16 and ResNet-50 feature extractors with public ImageNet weights, without torchvision.

Every network here takes RGB in [-1, 1], ``N, 3, H, W``, and does its own input normalization. Weights come from a file
or are downloaded once with a checksum; which normalization they were trained with is read from the file:

============================  =====================================================================================
naming in the file            input the weights expect
============================  =====================================================================================
``conv1_1.weight`` (Caffe)    BGR 0..255 minus (103.939, 116.779, 123.68): Simonyan & Zisserman's own, arXiv:1409.1556
``features.0.weight``         RGB 0..1, minus (0.485, 0.456, 0.406), over (0.229, 0.224, 0.225): torchvision and timm
``conv1.weight`` (ResNet)     as above
============================  =====================================================================================

Feature scale: the published loss weights of CartoonGAN and AnimeGAN belong to Caffe features (input in 0..255). A
network of convolutions and ReLU with scaled biases is positively homogeneous, so a torchvision VGG expressed in 0..255
units is the same network with its features multiplied by 255 * 0.226 = 57.63; ``features`` returns them in that unit,
so that a weight means the same whichever file is used. ``unit="normalized"`` divides by that number instead, for losses
whose weights were set on normalized input. ResNet features (batch-normalized inside) are left as they are.

Layers: ``convB_I`` is before the ReLU (what CartoonGAN and AnimeGAN compare), ``reluB_I`` after it; ResNet-50 has
``stem`` and ``layer1`` .. ``layer4``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from animevid.errors import TrainingError
from torch import Tensor, nn
from torch.nn import functional as F

from animevid_trainer.layers import rectify
from animevid_trainer.weight_files import PublishedWeights, copy_into, fetch_weights, read_weights

FeatureUnit = Literal["caffe", "normalized"]

_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
_IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
_IMAGENET_STD_RGB = (0.229, 0.224, 0.225)
#: torchvision units -> 0..255 units (mean of the three standard deviations); see the module's docstring.
_TORCHVISION_FEATURE_SCALE = 255.0 * sum(_IMAGENET_STD_RGB) / 3.0

_VGG_CONVS_PER_BLOCK = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_VGG_WIDTHS = (64, 128, 256, 512, 512)


#: torchvision's ImageNet-1k checkpoints; file names carry the first eight digits of the SHA-256, as torch.hub checks.
PUBLISHED: dict[str, PublishedWeights] = {
    "vgg19": PublishedWeights("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "dcbb9e9d", 575),
    "vgg16": PublishedWeights("https://download.pytorch.org/models/vgg16-397923af.pth", "397923af", 553),
    "resnet50": PublishedWeights("https://download.pytorch.org/models/resnet50-0676ba61.pth", "0676ba61", 103),
}


#: network -> the recipe variant that uses it
_VARIANT_OF = {"vgg16": "vgg16", "resnet50": "resnet"}


class Perceptual(nn.Module):
    """A frozen feature extractor: RGB in [-1, 1] in, named feature maps (float32) out.

    Gradients flow to the input, never to the weights; ``train()`` changes nothing. With ``bf16`` the convolutions run
    in bfloat16 (on CPUs with AMX or AVX512-BF16 several times faster); features are still returned in float32.
    """

    #: name of the network
    name: str
    #: the layer that ``forward`` returns
    default_layer: str
    #: every layer that ``features`` can give with the loaded weights, shallow to deep
    layers: tuple[str, ...]

    def __init__(self, name: str, default_layer: str, layers: tuple[str, ...], *, bf16: bool) -> None:
        super().__init__()
        self.name = name
        self.default_layer = default_layer
        self.layers = layers
        self.compute_dtype = torch.bfloat16 if bf16 else torch.float32
        self.feature_scale = 1.0

    def features(self, images: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Feature maps of ``images`` (``N, 3, H, W``, RGB in [-1, 1]) at several layers, in one pass.

        Computes no deeper than the deepest layer asked for. Returns float32 ``N, C, H', W'`` by layer name.

        Raises:
            TrainingError: a layer that this network, with these weights, does not have.
        """
        wanted = tuple(layers) if layers is not None else (self.default_layer,)
        unknown = [layer for layer in wanted if layer not in self.layers]
        if unknown or not wanted:
            raise TrainingError(
                f"layers = {list(wanted)} of {self.name!r}: the weights loaded have {', '.join(self.layers)}"
            )
        return self._extract(images, frozenset(wanted))

    def forward(self, images: Tensor) -> Tensor:
        """The ``default_layer`` of ``images``: float32 ``N, C, H', W'``."""
        return self.features(images)[self.default_layer]

    def train(self, mode: bool = True) -> Perceptual:
        """Do nothing: the network always stays in evaluation mode."""
        del mode
        return super().train(False)

    def _extract(self, images: Tensor, wanted: frozenset[str]) -> dict[str, Tensor]:
        raise NotImplementedError

    def _emit(self, feature: Tensor) -> Tensor:
        # float32 at the boundary: a mean over 10^5 bfloat16 values would lose the loss in rounding.
        return feature.float() * self.feature_scale if self.feature_scale != 1.0 else feature.float()

    def _freeze(self) -> None:
        self.requires_grad_(False)
        super().train(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.to(dtype=self.compute_dtype)
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


class Vgg(Perceptual):
    """VGG16 or VGG19 convolutions (Simonyan & Zisserman 2015, configurations D and E) up to the deepest layer given."""

    input_mean: Tensor
    input_scale: Tensor

    def __init__(self, name: str, state: Mapping[str, Tensor], *, unit: FeatureUnit, bf16: bool) -> None:
        caffe = "conv1_1.weight" in state
        convs = _vgg_conv_names(name)
        key_of = {conv: conv if caffe else f"features.{index}" for conv, index in convs.items()}
        present = [conv for conv in convs if f"{key_of[conv]}.weight" in state]
        if not present or present != list(convs)[: len(present)]:
            raise TrainingError(
                f"the weights hold {len(present)} of the convolutions of {name!r}; "
                "they must start at conv1_1 and leave none out"
            )
        layers = tuple(layer for conv in present for layer in (conv, conv.replace("conv", "relu")))
        # conv4_4 (VGG19) or conv4_3 (VGG16) where the file reaches that deep.
        preferred = f"conv4_{_VGG_CONVS_PER_BLOCK[name][3]}"
        super().__init__(name, preferred if preferred in present else present[-1], layers, bf16=bf16)
        self.convs = nn.ModuleDict()
        channels = 3
        for conv in present:
            width = _VGG_WIDTHS[int(conv[4]) - 1]
            module = nn.Conv2d(channels, width, kernel_size=3, padding=1)
            copy_into(module.weight, state, f"{key_of[conv]}.weight")
            assert module.bias is not None
            copy_into(module.bias, state, f"{key_of[conv]}.bias")
            self.convs[conv] = module
            channels = width
        if caffe:
            # to RGB input in [-1, 1] by swapping the first kernel's channels, not the image's
            first = self.convs["conv1_1"]
            assert isinstance(first, nn.Conv2d)
            with torch.no_grad():
                first.weight.copy_(first.weight.flip(1))
            mean, scale = torch.tensor(_CAFFE_MEAN_BGR[::-1]), torch.full((3,), 127.5)
        else:
            mean = torch.tensor(_IMAGENET_MEAN_RGB) / torch.tensor(_IMAGENET_STD_RGB)
            scale = 0.5 / torch.tensor(_IMAGENET_STD_RGB)
        if caffe != (unit == "caffe"):
            self.feature_scale = _TORCHVISION_FEATURE_SCALE if unit == "caffe" else 1.0 / _TORCHVISION_FEATURE_SCALE
        # normalized = (x + 1) * scale - mean
        self.register_buffer("input_mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("input_scale", scale.view(1, 3, 1, 1), persistent=False)
        self._freeze()

    def _extract(self, images: Tensor, wanted: frozenset[str]) -> dict[str, Tensor]:
        left = set(wanted)
        found: dict[str, Tensor] = {}
        x = (images.float() + 1.0) * self.input_scale - self.input_mean
        x = x.to(self.compute_dtype, memory_format=torch.channels_last)
        previous_block = "1"
        for conv, module in self.convs.items():
            block = conv[4]
            if block != previous_block:
                x = F.max_pool2d(x, kernel_size=2, stride=2)
                previous_block = block
            x = module(x)
            if conv in left:
                found[conv] = self._emit(x)
                left.discard(conv)
                if not left:
                    break
            # Features that were returned must not change (float32 features are not copied).
            x = F.relu(x) if conv in wanted else rectify(x)
            rectified = conv.replace("conv", "relu")
            if rectified in left:
                found[rectified] = self._emit(x)
                left.discard(rectified)
                if not left:
                    break
        return found


class _Bottleneck(nn.Module):
    """ResNet bottleneck, stride in the 3x3 convolution as torchvision has it. He et al. 2016, arXiv:1512.03385."""

    def __init__(self, in_channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = rectify(self.bn1(self.conv1(x)))
        y = rectify(self.bn2(self.conv2(y)))
        return rectify(self.bn3(self.conv3(y)) + shortcut)


class ResNet50(Perceptual):
    """ResNet-50 without its classifier; batch-norm statistics are frozen."""

    input_mean: Tensor
    input_scale: Tensor

    def __init__(self, state: Mapping[str, Tensor], *, bf16: bool) -> None:
        layers = ("stem", "layer1", "layer2", "layer3", "layer4")
        super().__init__("resnet50", "layer3", layers, bf16=bf16)
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for index, (blocks, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), start=1):
            stage = nn.Sequential()
            for block in range(blocks):
                stride = 2 if index > 1 and block == 0 else 1
                stage.append(_Bottleneck(channels, width, stride=stride))
                channels = 4 * width
            self.add_module(f"layer{index}", stage)
        for key, target in self.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                copy_into(target, state, key)
        std = torch.tensor(_IMAGENET_STD_RGB)
        self.register_buffer("input_mean", (torch.tensor(_IMAGENET_MEAN_RGB) / std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("input_scale", (0.5 / std).view(1, 3, 1, 1), persistent=False)
        self._freeze()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.to(dtype=self.compute_dtype)

    def _extract(self, images: Tensor, wanted: frozenset[str]) -> dict[str, Tensor]:
        left = set(wanted)
        found: dict[str, Tensor] = {}
        x = (images.float() + 1.0) * self.input_scale - self.input_mean
        x = x.to(self.compute_dtype, memory_format=torch.channels_last)
        x = rectify(self.bn1(self.conv1(x)))
        for layer in self.layers:
            if layer == "layer1":
                x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
            if layer != "stem":
                x = self.get_submodule(layer)(x)
            if layer in left:
                found[layer] = self._emit(x)
                left.discard(layer)
                if not left:
                    break
        return found


def make_perceptual(
    name: str,
    *,
    weights: Path | str | None = None,
    unit: FeatureUnit = "caffe",
    bf16: bool = False,
    device: torch.device | str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> Perceptual:
    """The network called ``name`` ("vgg19", "vgg16" or "resnet50"), frozen, with ImageNet weights.

    ``weights`` is a ``.safetensors`` or ``.pth`` file; ``None`` takes the published checkpoint from the cache
    (``$ANIMEVID_CACHE`` or ``~/.cache/animevid``), downloading it first where it is not there yet, calling
    ``on_progress`` with the downloaded megabytes and the total. ``unit``: see above.

    Raises:
        TrainingError: an unknown name, a file that cannot be read or does not fit, a download that fails or whose
            checksum differs.
    """
    if name not in PUBLISHED:
        raise TrainingError(f"perceptual network {name!r} is none of {', '.join(PUBLISHED)}")
    path = Path(weights).expanduser() if weights is not None else download_weights(name, on_progress=on_progress)
    state = read_weights(path)
    holds = _network_of(state)
    if holds and holds != name:
        way = f"leave +{name} out of" if holds == "vgg19" else f"add +{_VARIANT_OF[holds]} to"
        raise TrainingError(f"{str(path)!r} holds {holds}, not {name}: {way} the recipe's name, or give another file")
    try:
        network = ResNet50(state, bf16=bf16) if name == "resnet50" else Vgg(name, state, unit=unit, bf16=bf16)
    except TrainingError as error:
        raise TrainingError(f"{str(path)!r} is not a {name} checkpoint: {error}") from error
    network.to(device)
    return network


def where_to_get(name: str) -> str:
    """Explain how to get the weights of ``name`` without network access."""
    ours, smaller = PUBLISHED[name], PUBLISHED["vgg16"]
    way = f"fetch {ours.url} ({ours.megabytes} MB) elsewhere and give it with --perceptual-weights FILE"
    if name != "vgg19":
        return way
    return (
        f"{way}; or, with VGG16's weights ({smaller.url}, {smaller.megabytes} MB, or its convolutions alone), "
        "add +vgg16 to the recipe: animevid train RECIPE+vgg16 --perceptual-weights FILE"
    )


def download_weights(
    name: str,
    *,
    published: PublishedWeights | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The published checkpoint of ``name`` in the cache; downloaded, checked and renamed whole where it is missing.

    Raises:
        TrainingError: no network, a server's refusal, a full disk, or another SHA-256 than published.
    """
    return fetch_weights(
        published or PUBLISHED[name],
        what=f"{name}'s weights, which content and style are measured with,",
        flag="--perceptual-weights",
        way_out=where_to_get(name),
        on_progress=on_progress,
    )


def _network_of(state: Mapping[str, Tensor]) -> str:
    """Return the network of weights by their names: "vgg16", "vgg19", "resnet50", or "" if unknown."""
    if "layer1.0.conv1.weight" in state:
        return "resnet50"
    if "conv1_1.weight" in state:
        if "conv3_4.weight" in state:
            return "vgg19"
        return "vgg16" if "conv4_1.weight" in state else ""
    shape = getattr(state.get("features.16.weight"), "shape", None)
    if shape is not None:  # conv3_4 of VGG19; VGG16 has a pooling there, and its conv4_1 at 17
        return "vgg19"
    return "vgg16" if "features.17.weight" in state else ""


def _vgg_conv_names(name: str) -> dict[str, int]:
    """``convB_I`` -> its index in torchvision's ``features`` (conv, ReLU, ..., pool)."""
    names: dict[str, int] = {}
    index = 0
    for block, convs in enumerate(_VGG_CONVS_PER_BLOCK[name], start=1):
        for i in range(1, convs + 1):
            names[f"conv{block}_{i}"] = index
            index += 2
        index += 1
    return names


def layer_names(name: str) -> Iterable[str]:
    """Every layer that ``name`` could have with complete weights, for validating a recipe without loading them."""
    if name == "resnet50":
        return ("stem", "layer1", "layer2", "layer3", "layer4")
    return tuple(layer for conv in _vgg_conv_names(name) for layer in (conv, conv.replace("conv", "relu")))
