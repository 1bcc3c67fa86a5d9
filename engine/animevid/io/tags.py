"""Tags of a video and its streams: which of them are copied to the output, and how languages are written."""

from __future__ import annotations

from animevid.redaction import printable

#: Tags that describe the old file rather than the content.
_STALE_TAGS = frozenset(
    {
        "encoder",
        "major_brand",
        "minor_version",
        "compatible_brands",
        "duration",
        "rotate",
        "creation_tool",
        "number_of_frames",
        "number_of_bytes",
        "bps",
        "alpha_mode",
        "variant_bitrate",
    }
)


def lasting_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """``metadata`` without tags that only describe the old file."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in _STALE_TAGS and not key.upper().startswith("_STATISTICS")
    }


#: The tags that FFmpeg's muxers for MP4 and MOV write for a video. They can also write tags of any name, which players
#: that look for the usual atoms do not find.
_HELD_BY_MP4 = (
    "title artist album_artist album composer date creation_time comment genre copyright grouping lyrics description "
    "synopsis show episode_id network keywords location track disc compilation hd_video gapless_playback media_type "
    "season_number episode_sort"
)
_HELD_BY_MOV = "title artist album date creation_time comment genre copyright location make model"
_HELD = {"mp4": frozenset(_HELD_BY_MP4.split()), "mov": frozenset(_HELD_BY_MOV.split())}
#: Longer lists do not help.
_NAMED_TAGS = 8


def lost_tags(metadata: dict[str, str], *, muxer: str, holds_any: bool) -> tuple[str, ...]:
    """One line that names the tags that ``muxer`` cannot write, if there are any.

    Args:
        metadata: of the source.
        muxer: FFmpeg's name.
        holds_any: whether it is set to write tags of any name.
    """
    held = _HELD.get(muxer)
    if held is None or holds_any:
        return ()
    lost = sorted(key for key, value in lasting_metadata(metadata).items() if value and _base(key) not in held)
    more = f" and {len(lost) - _NAMED_TAGS} more" if len(lost) > _NAMED_TAGS else ""
    names = printable(", ".join(name[:40] for name in lost[:_NAMED_TAGS]))
    return (f"tags that {muxer} cannot hold are lost: {names}{more} (.mkv holds all)",) if lost else ()


def _base(key: str) -> str:
    """``TITLE-eng`` is the title in English."""
    return key.lower().partition("-")[0]


#: Muxers that write languages as three letters (ISO 639-2); others write any text.
_IN_THREE_LETTERS = frozenset({"mp4", "mov", "ipod", "mpegts", "rtp_mpegts", "hls"})
#: ISO 639-1 and ISO 639-2/T, five letters per language: HLS and DASH use "de", MP4 and broadcasts "deu".
_LANGUAGES = (
    "aaaar ababk aeave afafr akaka amamh anarg arara asasm avava ayaym azaze babak bebel bgbul bhbih bibis "
    "bmbam bnben bobod brbre bsbos cacat ceche chcha cocos crcre csces cuchu cvchv cycym dadan dedeu dvdiv "
    "dzdzo eeewe elell eneng eoepo esspa etest eueus fafas ffful fifin fjfij fofao frfra fyfry gagle gdgla "
    "glglg gngrn guguj gvglv hahau heheb hihin hohmo hrhrv hthat huhun hyhye hzher iaina idind ieile igibo "
    "iiiii ikipk ioido isisl itita iuiku jajpn jvjav kakat kgkon kikik kjkua kkkaz klkal kmkhm knkan kokor "
    "krkau kskas kukur kvkom kwcor kykir lalat lbltz lglug lilim lnlin lolao ltlit lulub lvlav mgmlg mhmah "
    "mimri mkmkd mlmal mnmon mrmar msmsa mtmlt mymya nanau nbnob ndnde nenep ngndo nlnld nnnno nonor nrnbl "
    "nvnav nynya ococi ojoji omorm orori ososs papan pipli plpol pspus ptpor quque rmroh rnrun roron rurus "
    "rwkin sasan scsrd sdsnd sesme sgsag sisin skslk slslv smsmo snsna sosom sqsqi srsrp ssssw stsot susun "
    "svswe swswa tatam tetel tgtgk ththa titir tktuk tltgl tntsn toton trtur tstso tttat twtwi tytah uguig "
    "ukukr ururd uzuzb veven vivie vovol wawln wowol xhxho yiyid yoyor zazha zhzho zuzul "
)
_THREE_LETTERS = {word[:2]: word[2:] for word in _LANGUAGES.split()}


def stream_tags(metadata: dict[str, str], *, muxer: str) -> dict[str, str]:
    """The tags of a stream's ``metadata`` for FFmpeg's ``muxer``."""
    return with_known_language(lasting_metadata(metadata), muxer=muxer)


def with_known_language(tags: dict[str, str], *, muxer: str) -> dict[str, str]:
    """``tags`` with the language as FFmpeg's ``muxer`` can write it: ``pt-BR`` is ``por`` in MP4."""
    language = tags.get("language", "")
    main = language.replace("_", "-").partition("-")[0].lower()
    if muxer not in _IN_THREE_LETTERS or not language or (len(language) == 3 and language.isalpha()):
        return tags
    known = _THREE_LETTERS.get(main) or (main if len(main) == 3 and main.isascii() and main.isalpha() else None)
    return tags if known is None else {**tags, "language": known}
