"""What a stream is called and marked as: carried as far as a container holds it, the rest put into words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from av.stream import Disposition, Stream

# Counted by the tool that wrote the source; wrong for what we write, and made anew by muxers that keep them.
STALE_TAGS = ("BPS", "DURATION", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "_STATISTICS")
_SYNONYMS = (
    "sqi alb hye arm eus baq mya bur zho chi cze ces nld dut fre fra kat geo deu ger ell gre isl ice mkd mac msa may "
    "fas per rum ron slo slk bod tib cym wel swe sve"
)
_SHORT = {"hrv": "hr ", "scr": "hr ", "srp": "sr ", "scc": "sr ", "fao": "fo ", "pan": "pa "}
MOV_LANGUAGES = dict(zip(_SYNONYMS.split()[::2], _SYNONYMS.split()[1::2], strict=True)) | _SHORT
"""Codes that FFmpeg's muxer of mov leaves away, and its own for the same: mov has a number for each language."""
_LONG = {short: long for long, short in reversed(_SHORT.items())}
_IN_MOV = (
    "alb amh ara arm asm aym aze baq bel ben bul bur cat ces chi dan dut dzo eng epo est fin fra geo ger gre grn guj "
    "heb hin hun ice ind iri ita jav jpn kan kas kaz khm kin kir kor kur lao lat lav lit mac mal mar may mlg mlt mol "
    "mon nep nor nya ori orm per pol por pus que ron run rus san sin slk slv smi snd som spa sve swa tam tat tel tgk "
    "tgl tha tib tir tuk tur uig ukr urd uzb vie wel yid"
)
_UNKNOWN_LANGUAGE = "und"
_LANGUAGES = {
    "matroska": ".*",
    "webm": ".*",
    "mov": "|".join([*_IN_MOV.split(), *_LONG]),
    "mpegts": "[a-z]{3}(,[a-z]{3})*",
    "flv": "",
    "gif": "",
}
"""The codes that each format holds; in others they have three letters."""

_TEXTS = Disposition.captions | Disposition.descriptions
_IMPAIRED = Disposition.hearing_impaired | Disposition.visual_impaired
_MANY = Disposition.default | Disposition.dub | Disposition.comment | Disposition.forced | _IMPAIRED
_MARKS = {
    "matroska": _MANY | Disposition.original | Disposition.descriptions,
    "webm": Disposition.default | Disposition.forced | _TEXTS,
    "mp4": _MANY | _TEXTS,
    "mpegts": Disposition(0),
    "flv": Disposition(0),
    "gif": Disposition(0),
}
"""The marks that FFmpeg finds again; in others (movies by other names than mp4) that of the default track alone."""
_ONE_IN_TS = (Disposition.clean_effects, Disposition.hearing_impaired, Disposition.visual_impaired)
"""The first of these that there is."""
_TOLD_ELSEWHERE = Disposition.attached_pic | Disposition.timed_thumbnails
_ALL_TAGS = ("matroska", "webm")
_ASIDE = "handler_name vendor_id creation_time encoder language timecode alpha_mode stereo_mode filename mimetype"
_NO_LOSS = frozenset(_ASIDE.split())
"""Of the file rather than the stream, or told elsewhere. Lower case."""


def stream_tags(source: Stream) -> dict[str, str]:
    """A stream's tags without those that only described the old file, each by the name that muxers know."""
    tags = {k: v for k, v in source.metadata.items() if not k.upper().startswith(STALE_TAGS) and k.lower() != "encoder"}
    if "name" in tags:  # A movie's title of a track.
        tags.setdefault("title", tags.pop("name"))
    if tags.get("language") in _LONG:
        tags["language"] = _LONG[tags["language"]]
    return tags


def label(added: Stream, source: Stream, format: str, tags: Mapping[str, str]) -> str:
    """Give an output stream its tags and marks. What of them the format does not hold, in words; else empty."""
    made = dict(tags)
    if "title" in made and format in ("ipod", "3gp"):
        made["handler_name"] = made["title"]  # The only name that a track has there.
    elif "title" in made and format == "mp4":
        made.setdefault("handler_name", made["title"])  # The only one that most players show.
    if format == "mov" and "language" in made:
        made["language"] = MOV_LANGUAGES.get(made["language"], made["language"])
    added.metadata.update(made)
    added.disposition = Disposition(source.disposition)
    return _lost(source, format, made)


def _lost(source: Stream, format: str, tags: Mapping[str, str]) -> str:
    parts = []
    language = tags.get("language", _UNKNOWN_LANGUAGE)
    speaks = source.type in ("audio", "subtitle") and language != _UNKNOWN_LANGUAGE
    if speaks and not re.fullmatch(_LANGUAGES.get(format, "[a-z]{3}"), language):
        parts.append(f"its language ({language})")
    held = _MARKS.get(format, Disposition.default)
    if format in _ALL_TAGS and source.type != "subtitle":
        held &= ~_TEXTS
    if format == "mpegts":
        held = next((mark for mark in _ONE_IN_TS if mark & source.disposition), held)
    if marks := _lost_marks(source, held):
        parts.append(f"its marks ({', '.join(marks)})")
    if names := _lost_tags(format, tags):
        parts.append(f"its tags ({', '.join(names)})")
    return f"loses {' and '.join(parts)}, which {format} does not hold" if parts else ""


def _lost_marks(source: Stream, held: Disposition) -> list[str]:
    if source.type not in ("video", "audio", "subtitle"):
        return []
    lost = Disposition(source.disposition) & ~(held | _TOLD_ELSEWHERE)
    alike = {bool(s.disposition & Disposition.default) for s in source.container.streams if s.type == source.type}
    if len(alike) == 1:
        lost &= ~Disposition.default  # It says nothing where all are, as where there is only one.
    return [mark.name or "" for mark in Disposition if mark & lost]


def _lost_tags(format: str, tags: Mapping[str, str]) -> list[str]:
    if format in _ALL_TAGS:
        return []
    named = format in ("mp4", "mov", "ipod", "3gp")
    return sorted(name for name in tags if name.lower() not in _NO_LOSS and not (named and name == "title"))
