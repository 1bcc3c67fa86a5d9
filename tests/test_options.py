"""Each option is declared once, in ``animevid.options``; flags, checks and API functions derive from it."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction

import animevid
import pytest
from animevid.card_hints import CardHints
from animevid.cli.options import add_options, read_options
from animevid.declare import changed, declaration_of, keywords_of, narrowed, nested_class
from animevid.errors import UsageError
from animevid.options import ConversionOptions, EncodeOptions, LiveOptions, StyleChoice, WebcamOptions


def parsed(options: type, *argv: str) -> object:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, options, but={"runtime.device": {"flag": "--net-device"}})
    return read_options(parser.parse_args(argv), options)


@pytest.mark.parametrize("options", [ConversionOptions, WebcamOptions])
def test_without_flags_all_options_are_their_defaults(options: type):
    assert parsed(options) == options()


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ("--strength 30%", {"strength": 0.3}),
        ("--no-copy --every-frame -y", {"copy_streams": False, "skip_static": False, "overwrite": True}),
        ("--compare split:0.3", {"compare": "split", "split_position": 0.3}),
        ("--start 1:02.5 --reconnect 3", {"start_seconds": Fraction(125, 2), "reconnect_seconds": 3.0}),
        ("--threads 2 --encoder-threads 3", {"threads": 2, "encoder": EncodeOptions(threads=3)}),
        ("--layout NHWC", {"hints": CardHints(layout="NHWC")}),
    ],
)
def test_a_flag_changes_its_option_and_no_other(flags: str, options: dict[str, object]):
    assert changed(parsed(ConversionOptions, *flags.split())) == options


def test_the_virtual_camera_may_be_given_without_a_device():
    assert parsed(WebcamOptions, "--virtual-camera").virtual_camera == ""
    assert parsed(WebcamOptions, "--microphone", "none").microphone is None


def test_every_option_of_a_conversion_is_an_argument_of_stylize_and_documented_in_its_docstring():
    arguments = inspect.signature(animevid.stylize).parameters
    for field in fields(ConversionOptions):
        assert field.name in arguments
        assert f"    {field.name} (" in animevid.stylize.__doc__
        assert declaration_of(field) is not None, f"{field.name} has no help"
        assert nested_class(field) or field.default is not inspect.Parameter.empty


@pytest.mark.parametrize("make", [ConversionOptions, LiveOptions, animevid.Stylizer])
def test_a_value_outside_the_limits_is_refused_wherever_it_comes_in(make: Callable[..., object]):
    with pytest.raises(UsageError, match=r"strength = 1\.5 must be 0 \(the original\) to 1"):
        make(strength=1.5)


def test_a_function_takes_the_options_and_its_own_arguments_by_position_or_name():
    @keywords_of(StyleChoice)
    def told(left: str, right: str, options: StyleChoice) -> tuple[object, ...]:
        return left, right, options.style, options.quality

    assert told("a", "b", "ink", quality="high") == ("a", "b", "ink", "high")
    assert told(right="b", left="a") == ("a", "b", None, None)
    with pytest.raises(TypeError, match="colour"):
        told("a", "b", colour="red")


def test_the_part_that_a_base_class_has_can_be_compared():
    one, other = LiveOptions(style="ink", mirror=True), LiveOptions(style="ink", strength=0.5)
    assert narrowed(one, StyleChoice) == narrowed(other, StyleChoice) == StyleChoice("ink")
