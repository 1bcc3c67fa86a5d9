"""A typing error or a broken image destroys nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import cv2
import pytest
from animevid.cli import main
from media import moving_frame, write_clip

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"


def _run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("harm") / "mine.mp4", frames=6)


@pytest.mark.parametrize("arguments", [["{video}", "--demo", "-y"], ["{video}", "-y", "--demo", "{video}"]])
def test_the_demo_never_replaces_a_video_that_was_named_as_input(clip, tmp_path, arguments, capfd):
    video = Path(shutil.copy(clip, tmp_path))
    before = video.read_bytes()
    assert _run(*(argument.format(video=video) for argument in arguments)) == 2
    assert "--demo" in capfd.readouterr().err
    assert video.read_bytes() == before


def test_frames_are_written_into_the_current_folder_beside_other_files(clip, packed_style, tmp_path, monkeypatch):
    video = Path(shutil.copy(clip, tmp_path))
    monkeypatch.chdir(tmp_path)
    assert _run("mine.mp4", "f%04d.png", "--style", packed_style) == 0
    assert sorted(os.listdir()) == [*(f"f{number:04d}.png" for number in range(1, 7)), video.name]


def test_a_pattern_replaces_no_frame_unless_it_is_told_to(clip, packed_style, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("f0003.png").write_bytes(b"mine")
    assert _run(clip, "f%04d.png", "--style", packed_style) == 4
    assert "f0003.png" in capfd.readouterr().err
    assert os.listdir() == ["f0003.png"]
    assert Path("f0003.png").read_bytes() == b"mine"
    assert _run(clip, "f%04d.png", "--style", packed_style, "-y") == 0
    assert Path("f0003.png").read_bytes() != b"mine"


@pytest.fixture
def images(tmp_path):
    """Two good images, an empty file, a file that is no image, a truncated JPEG, and a subfolder."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for name in ("a.jpg", "z.jpg"):
        cv2.imwrite(str(folder / name), moving_frame(0))
    data = (folder / "a.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no image")
    (folder / "notes.txt").write_text("passed over without a word")
    return folder


def test_every_image_that_is_lost_is_named(images, packed_style, tmp_path, capfd):
    assert _run(images, tmp_path / "out", "--style", packed_style) == 0
    err = capfd.readouterr().err
    for name in ("more", "cut.jpg", "empty.png", "text.jpg"):
        assert name in err
    assert "notes.txt" not in err
    assert len(err.splitlines()) == 4


def test_what_is_no_file_is_named_too(images, packed_style, tmp_path, capfd):
    for name in ("cut.jpg", "empty.png", "text.jpg"):
        (images / name).unlink()
    (images / "more").rmdir()
    (images / "lost.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(images / "pipe.png")
    assert _run(images, tmp_path / "out", "--style", packed_style) == 0
    lost, pipe = capfd.readouterr().err.splitlines()
    assert lost.endswith("lost.jpg' is a link that leads nowhere")
    assert pipe.endswith("pipe.png' is no file but a pipe, socket or device")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Images of the same name in a folder and its subfolders; one subfolder has a link to the top."""
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(("tree", "tree/x", "tree/[y]")):
        Path(folder).mkdir()
        cv2.imwrite(f"{folder}/a.png", moving_frame(3 * number))
    Path("tree/x/up").symlink_to("..")
    return Path("tree")


@pytest.mark.parametrize("words", [["tree/**/*"], ["tree", "--recursive"]])
def test_images_of_one_name_stay_apart_in_their_folders(tree, packed_style, words, capfd):
    for more in ([], ["-y"]):
        assert _run(words[0], "out", *words[1:], "--style", packed_style, *more) == 0
    assert sorted(path.as_posix() for path in Path("out").rglob("*.*")) == [
        "out/[y]/a.png",
        "out/a.png",
        "out/x/a.png",
    ]
    assert len({path.read_bytes() for path in Path("out").rglob("a.png")}) == 3


def test_what_may_not_be_read_is_named(tree, packed_style):
    """As root without the capability to read all files."""
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    if without and shutil.which("setpriv") is None:
        pytest.skip("root may read everything, and there is no setpriv here")
    Path("tree/x/a.png").chmod(0)
    Path("tree/[y]").chmod(0)
    command = [*without, sys.executable, "-m", "animevid", "tree", "out", "--recursive", "--style", packed_style]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    Path("tree/[y]").chmod(0o755)
    assert done.returncode == 0
    assert [line.partition(" = ")[2] for line in done.stderr.splitlines()] == [
        "'tree/[y]' may not be read: check its permissions",
        "'tree/x/a.png' may not be read: check its permissions",
    ]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["a" * 300, "out.png"], 3, "cannot be reached (File name too long): check the name"),
        (["", "out"], 3, "a name is empty, which would mean the current folder"),
        (["tree", "", "-y"], 4, "a name is empty, which would mean the current folder"),
    ],
)
def test_meaningless_names_are_reported_in_one_line(tree, words, code, told, capfd):
    assert _run(*words) == code
    (line,) = capfd.readouterr().err.splitlines()
    assert told in line
    assert os.listdir() == ["tree"]


def test_two_images_never_share_one_name(tree, packed_style):
    Path("tree/b.bmp").write_bytes(cv2.imencode(".bmp", moving_frame(1))[1])
    Path("tree/b.bmp.png").write_bytes(cv2.imencode(".png", moving_frame(2))[1])
    assert _run("tree", "out", "--style", packed_style) == 0
    assert sorted(os.listdir("out")) == ["a.png", "b.bmp-2.png", "b.bmp.png"]


@pytest.mark.parametrize("source", ["tree/**/*", "tree/*/a.png", "tree", "tree/x/../a.png"])
def test_drawings_never_replace_their_photos(tree, packed_style, source, capfd):
    before = {path: path.read_bytes() for path in tree.rglob("a.png")}
    for target in ("tree", "other"):
        Path("other").exists() or Path("other").symlink_to("tree")
        assert _run(source, target, "--style", packed_style, "-y") == 4
        assert "is the folder of the input: choose another one" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_what_stays_out_beside_videos_is_reported(clip, packed_style, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("videos/more").mkdir(parents=True)
    shutil.copy(clip, "videos")
    cv2.imwrite("videos/photo.jpg", moving_frame(0))
    assert _run("videos", "out", "--style", packed_style, "--strict") == 3
    assert "videos/more' is a subfolder and not searched: --recursive" in capfd.readouterr().err
    assert not Path("out").exists()
    assert _run("videos", "out", "--style", packed_style) == 0
    assert "also has 1 image(s), which are skipped: give a glob to convert them" in capfd.readouterr().err


def test_a_pipe_that_cannot_reach_an_index_is_reported(clip, packed_style, tmp_path):
    command = [sys.executable, "-m", "animevid", "-", tmp_path / "out.mp4", "--style", packed_style]
    with subprocess.Popen(["cat", clip], stdout=subprocess.PIPE) as cat:
        done = subprocess.run(command, stdin=cat.stdout, capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert "is an MP4 with its index at its end, beyond a pipe's reach" in line
    assert done.returncode == 3


@pytest.mark.parametrize("name", ["more", "cut.jpg", "empty.png", "text.jpg"])
def test_strict_makes_each_lost_image_an_error_and_writes_nothing(images, packed_style, tmp_path, name, capfd):
    for other in {"more", "cut.jpg", "empty.png", "text.jpg"} - {name}:
        (images / other).rmdir() if other == "more" else (images / other).unlink()
    assert _run(images, tmp_path / "out", "--style", packed_style, "--strict") == 3
    assert name in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_strict_has_nothing_against_whole_images(packed_style, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for photo in sorted(GALLERY.glob("portrait48-*.jpg")):
        shutil.copy(photo, photos)
    for suffix in (".png", ".webp", ".bmp"):
        cv2.imwrite(str(photos / f"drawn{suffix}"), moving_frame(0))
    assert _run(photos, tmp_path / "out", "--style", packed_style, "--strict") == 0


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_an_image_of_each_kind_that_is_cut_short_is_reported(packed_style, tmp_path, suffix, capfd):
    whole = tmp_path / f"whole{suffix}"
    cv2.imwrite(str(whole), moving_frame(0))
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[:-40])
    code = _run(cut, tmp_path / "out.png", "--style", packed_style)
    assert code == 3 or "cut short" in capfd.readouterr().err


def test_v_gives_no_trace_for_what_a_user_got_wrong(tmp_path, capfd):
    assert _run(tmp_path / "missing.mp4", tmp_path / "out.mp4", "-v") == 3
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert "missing.mp4" in err.splitlines()[-1]


def test_a_video_whose_every_frame_is_whole_passes_strict(clip, packed_style, tmp_path):
    assert _run(clip, tmp_path / "out.mp4", "--style", packed_style, "--strict") == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6


def test_many_videos_are_not_written_into_a_folder_that_is_called_as_a_video(
    clip, packed_style, tmp_path, monkeypatch, capfd
):
    shutil.copy(clip, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert _run(".", "out.mp4", "--style", packed_style) == 2
    assert (
        "OUTPUT = 'out.mp4' is the name of a video, but INPUT is several videos: give a folder, out/"
        in capfd.readouterr().err
    )
    assert os.listdir() == ["mine.mp4"]


def test_the_current_folder_is_refused_as_an_output(clip, packed_style, tmp_path, monkeypatch, capfd):
    shutil.copy(clip, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert _run("mine.mp4", ".", "--style", packed_style) == 4
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("path = '.' has files in it: choose another folder, name a video (out.mp4) or overwrite (-y)")


def test_an_unknown_backend_is_reported_with_a_suggestion(clip, packed_style, tmp_path, capfd):
    assert _run(clip, tmp_path / "out.mp4", "--style", packed_style, "--backend", "onnxruntme") == 2
    assert "did you mean 'onnxruntime'?" in capfd.readouterr().err
