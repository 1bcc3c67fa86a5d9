"""The survey: votes are stored and exchanged, the ranking is correct, and the page works."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from animevid.errors import TrainingError
from animevid_trainer.cli import main
from animevid_trainer.survey.pairs import Exhibition, Pair
from animevid_trainer.survey.ranking import rank
from animevid_trainer.survey.votes import QUESTIONS, Vote, VoteStore, faults_of, read_votes, write_votes
from live_browser import chromium, why_no_chromium, write_camera_video
from small_runs import images

_DOCS = Path(__file__).resolve().parents[2] / "docs" / "votes"


def vote(judge: str, photo: str, left: str, right: str, winner: str, **more: object) -> Vote:
    return Vote(judge, photo, left, right, winner, winner, winner, **more)


# --------------------------------------------------------------------------------------------------------------- votes


def test_a_judge_has_one_vote_on_a_pair_whatever_its_sides_and_it_outlives_the_program(tmp_path: Path) -> None:
    store = VoteStore(tmp_path / "votes.sqlite")
    store.put(vote("ann", "p1", "a", "b", "a"))
    store.put(vote("ben", "p1", "a", "b", "a"))
    store.put(vote("ann", "p1", "b", "a", "b", faults_left=("grid", "halo")))
    found = VoteStore(tmp_path / "votes.sqlite").all()
    assert found == [
        vote("ben", "p1", "a", "b", "a"),
        vote("ann", "p1", "b", "a", "b", faults_left=("grid", "halo")),
    ]
    assert store.of("ann") == {("p1", ("a", "b"))}


def test_votes_travel_as_csv_with_a_key_and_come_back_equal(tmp_path: Path) -> None:
    votes = [
        vote("ann", "p1", "a", "b", "a", faults_right=("timid",)),
        vote("ann", "p2", "b", "c", "c"),
        vote("ben", "p1", "c", "a", "a"),
    ]
    files = write_votes(votes, tmp_path)
    assert [path.name for path in files] == ["ann.csv", "ben.csv"]
    assert (tmp_path / "ann.csv").read_text().splitlines() == [
        "id,anime,post,content,faults_L,faults_R",
        "00,L,L,L,none,timid",
        "01,R,R,R,none,none",
    ]
    assert [v for path in files for v in read_votes(path)] == votes


def test_the_votes_in_docs_are_read_and_written_as_they_are(tmp_path: Path) -> None:
    for path in sorted(_DOCS.glob("*.csv")):
        votes = read_votes(path)
        assert len(votes) >= 10
        (written,) = write_votes(votes, tmp_path)
        ours, theirs = (list(csv.DictReader(file.open())) for file in (written, path))
        for question in QUESTIONS:
            assert [row[question] for row in ours] == [row[question].strip().upper() for row in theirs]
        key = json.loads((tmp_path / f"{path.stem}-key.json").read_text())
        assert [row["L"] for row in key] == [vote.left for vote in votes]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,anime,post,content,faults_L\n00,L,L,L,none\n", "has no column 'faults_R'; its header is"),
        ("id,anime,post,content,faults_L,faults_R\n00,L,X,L,none,none\n", "v.csv:2: post is 'X'; allowed are L and R"),
        ("id,anime,post,content,faults_L,faults_R\n07,L,L,L,none,none\n", "v.csv:2: pair '07' is not in the key"),
    ],
)
def test_a_csv_that_is_no_vote_is_refused_by_line_and_changes_nothing(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v.csv").write_text(text)
    (tmp_path / "v-key.json").write_text('[{"id": 0, "photo": "p", "L": "a", "R": "b", "ours": "a"}]')
    assert main(["survey", "--out", str(tmp_path / "out"), "--import", str(tmp_path / "v.csv")]) == 8
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_faults_are_counted_for_who_has_them_on_either_side() -> None:
    votes = [
        vote("ann", "p1", "a", "b", "a", faults_left=("grid",), faults_right=("halo", "grid")),
        vote("ann", "p2", "b", "a", "a", faults_left=("halo",)),
    ]
    assert faults_of(votes) == {"a": {"grid": 1}, "b": {"halo": 2, "grid": 1}}


# ------------------------------------------------------------------------------------------------------------- ranking


def test_the_ranking_finds_the_strengths_that_votes_were_drawn_from() -> None:
    strengths = {"strong": 3.0, "middle": 1.0, "weak": 1.0 / 3.0}
    chance = random.Random(1)
    votes = []
    for number in range(1500):
        left, right = chance.sample(sorted(strengths), 2)
        wins = chance.random() < strengths[left] / (strengths[left] + strengths[right])
        votes.append(vote(f"j{number}", "p", left, right, left if wins else right))
    found = {standing.name: standing for standing in rank(votes, "post")}
    assert list(found) == ["strong", "middle", "weak"]
    for name, strength in strengths.items():
        share = strength / (strength + 1.0)  # the geometric mean of the strengths is 1
        assert found[name].share == pytest.approx(share, abs=0.03)
        assert found[name].low < share < found[name].high
        assert found[name].high - found[name].low < 0.08
    assert sum(standing.votes for standing in found.values()) == 3000


def test_two_candidates_have_the_share_of_their_votes_and_the_intervals_shrink_with_more() -> None:
    def of(times: int) -> list[float]:
        votes = [vote(f"j{index}", "p", "a", "b", "a" if index % 4 else "b") for index in range(4 * times)]
        first = rank(votes, "post")[0]
        # 3 : 1 between two: the odds against their average are the square root of 3
        return [first.share, first.high - first.low]

    few, many = of(5), of(200)
    assert many[0] == pytest.approx(3**0.5 / (1 + 3**0.5), abs=0.01)
    assert many[1] == pytest.approx(few[1] / 40**0.5, rel=0.15)


def test_a_candidate_that_wins_every_vote_is_strong_but_not_infinitely() -> None:
    first, last = rank([vote(f"j{n}", "p", "a", "b", "a") for n in range(6)], "anime")
    assert (first.name, first.won, last.won) == ("a", 6, 0)
    assert 0.7 < first.share < 0.99
    assert first.low > 0.4
    assert rank([], "post") == []


# --------------------------------------------------------------------------------------------------------------- pairs


def test_each_judge_has_an_order_and_sides_of_its_own_and_always_the_same() -> None:
    pairs = tuple(Pair(number, f"p{number}", "a", "b") for number in range(40))
    shown = Exhibition(pairs, {})
    assert shown.order_for("ann") == shown.order_for("ann") != shown.order_for("ben")
    assert sorted(pair.number for pair in shown.order_for("ann")) == list(range(40))
    left = [shown.sides_for("ann", pair)[0] for pair in pairs]
    assert left == [shown.sides_for("ann", pair)[0] for pair in pairs]
    assert 8 < left.count("a") < 32


# ---------------------------------------------------------------------------------------------------------- the command


def test_imported_votes_are_ranked_and_exported_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imports = [flag for path in sorted(_DOCS.glob("c[12].csv")) for flag in ("--import", str(path))]
    command = ["survey", "--out", str(tmp_path / "out"), *imports, "--results", "--export", str(tmp_path / "votes")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "Which would you rather keep?" in said
    assert "votes of 2 judges" in said
    assert sorted(path.name for path in (tmp_path / "votes").glob("*.csv")) == ["c1.csv", "c2.csv"]


@pytest.mark.parametrize("arguments", [["photo"], ["photo", "aozora"], []])
def test_a_survey_without_two_candidates_and_photos_says_what_it_needs(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["survey", *arguments]) == 8
    assert "animevid survey CANDIDATE CANDIDATE ... --photos DIR" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@contextmanager
def opened(folder: Path, *flags: str) -> Iterator[dict[str, str]]:
    """``animevid survey`` of a photo against a teacher, in a separate process; gives the addresses that it prints."""
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    for index, image in enumerate(images(2, 3, side_px=240)):
        cv2.imwrite(str(photos / f"{index}.png"), np.ascontiguousarray(image[:180]))
    command = [sys.executable, "-m", "animevid_trainer", "survey", "plain=photo", "flat=teacher:bilateral"]
    command += ["--photos", str(photos), "--out", str(folder / "out"), "--port", "0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found: dict[str, str] = {}
        for line in process.stdout:
            name, _, address = line.partition(":")
            found[name] = address.strip()
            if name == "results":
                break
        yield found
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.skipif(why_no_chromium() is not None, reason=why_no_chromium() or "")
def test_a_viewer_votes_in_a_browser_and_the_owner_sees_the_ranking(tmp_path: Path) -> None:
    import urllib.error
    import urllib.request

    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    video = write_camera_video(tmp_path / "unused.y4m", frames=2)
    with opened(tmp_path) as at, chromium(video, width=390, height=844) as driver:
        wait = WebDriverWait(driver, 30)
        driver.get(at["judges"])
        wait.until(lambda d: d.find_element(By.ID, "count").text == "0 of 2")
        page = driver.page_source
        assert "plain" not in page
        assert "flat" not in page
        width = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert width[0] <= width[1]

        def choose(name: str, value: str) -> None:
            driver.execute_script(
                "arguments[0].click()", driver.find_element(By.CSS_SELECTOR, f"[name={name}][value={value}]")
            )

        for number in (1, 2):
            wait.until(lambda d: d.execute_script("return document.getElementById('right').naturalWidth") == 240)
            send = driver.find_element(By.ID, "send")
            choose("anime", "L")
            choose("post", "R")
            assert not send.is_enabled()
            choose("content", "L")
            driver.find_element(By.TAG_NAME, "summary").click()
            for fault in ("grid", "halo", "dirty"):
                choose("faults_R", fault)
            assert not driver.find_element(By.CSS_SELECTOR, "[name=faults_R][value=timid]").is_enabled()
            assert send.is_enabled()
            driver.execute_script("arguments[0].click()", send)
            wait.until(lambda d, number=number: d.find_element(By.ID, "count").text == f"{number} of 2")
            if number == 1:
                driver.find_element(By.TAG_NAME, "summary").click()
        assert driver.find_element(By.ID, "end").is_displayed()
        driver.get(at["judges"])
        wait.until(lambda d: d.find_element(By.ID, "end").is_displayed())  # a judge is not asked the same pair again
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(at["results"].partition("?")[0])
        driver.get(at["results"])
        text = driver.find_element(By.TAG_NAME, "main").text
        assert "2 votes of 1 judges" in text
        assert "grid" in text
        address = driver.find_element(By.CSS_SELECTOR, "a.button").get_attribute("href")
        (tmp_path / "votes.zip").write_bytes(urllib.request.urlopen(address).read())
    with zipfile.ZipFile(tmp_path / "votes.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    (votes,) = (read_votes(path) for path in (tmp_path / "unpacked").glob("*.csv"))
    assert votes == VoteStore(tmp_path / "out/votes.sqlite").all()
    assert [vote.anime == vote.left and vote.post == vote.right for vote in votes] == [True, True]
    assert {vote.faults_right for vote in votes} == {("dirty", "grid", "halo")}


@pytest.mark.slow
def test_the_server_takes_only_votes_of_its_own_page_and_pairs(tmp_path: Path) -> None:
    import urllib.error
    import urllib.request

    with opened(tmp_path) as at:
        site = at["judges"].rstrip("/")
        with urllib.request.urlopen(site) as answer:
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]

        def send(body: object, **headers: str) -> int:
            request = urllib.request.Request(f"{site}/vote", json.dumps(body).encode(), {"Cookie": cookie} | headers)
            try:
                return int(urllib.request.urlopen(request).status)
            except urllib.error.HTTPError as error:
                return error.code

        good = {"number": 0, "anime": "L", "post": "L", "content": "R", "faults_L": [], "faults_R": ["grid"]}
        assert send(good, Origin="http://elsewhere.example") == 403
        assert send(good, Cookie="animevid_judge=../../etc") == 400
        for wrong in (
            {"number": 99}, {"number": True}, {"anime": "both"}, {"faults_L": ["<b>"]}, {"faults_R": ["grid"] * 4},
            {"faults_L": "grid"},
        ):  # fmt: skip
            assert send(good | wrong) == 400, wrong
        assert send([1, 2]) == 400
        assert VoteStore(tmp_path / "out/votes.sqlite").all() == []
        assert send(good) == 200
        assert len(VoteStore(tmp_path / "out/votes.sqlite").all()) == 1


def test_a_file_that_is_no_data_base_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "votes.sqlite").write_text("no data base, but long enough to be taken for one" * 99)
    with pytest.raises(TrainingError, match=r"cannot be opened .*; give another --out"):
        VoteStore(tmp_path / "votes.sqlite")
