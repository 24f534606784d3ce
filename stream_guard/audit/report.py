"""The report: one page that needs nothing beside itself, with pictures over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from ..media.atomic import AtomicFile
from ..media.translate import writing
from . import words
from .gallery import Moment
from .pictures import Picture
from .result import AuditResult
from .timeline import timeline


@contextmanager
def report_file(path: Path, *, overwrite: bool = False) -> Iterator[Callable[[AuditResult], None]]:
    """Checks the place before the work begins, and gives what writes the page there, whole or not at all.

    Raises OutputRefusedError for an existing file without `overwrite` and for a place that cannot be written.
    """
    file = AtomicFile(str(path), overwrite=overwrite)
    try:
        yield partial(_write, file)
    finally:
        file.discard()  # once committed, it has its own name and there is nothing left to discard


def _write(file: AtomicFile, result: AuditResult) -> None:
    with writing(file.path):
        # File names may hold bytes that no letters stand for.
        Path(file.temporary).write_text(render(result), encoding="utf-8", errors="backslashreplace")
    file.commit()


def render(result: AuditResult) -> str:
    """The page as text."""
    page = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    return Template(page).substitute(
        title=escape(f"Audit of {result.protected.name}"),
        heading=escape(f"Audit of {result.protected.name}"),
        subtitle=escape(f"Compared with {result.original.name}. {words.asked(result)}"),
        verdicts="".join(map(_verdict, words.verdicts(result))),
        rows="".join(map(_row, words.rows(result))),
        timelines=_timelines(result),
        frames=_frames(result.frame_pictures),
        moments=_moments(result.moments),
        notes="".join(f"<li>{escape(note)}</li>" for note in words.notes(result)),
    )


def _verdict(verdict: words.Verdict) -> str:
    mood = {True: "good", False: "bad", None: ""}[verdict.reached]
    return f'<div class="verdict {mood}"><b>{escape(verdict.headline)}</b><p>{escape(verdict.detail)}</p></div>'


def _row(row: words.Row) -> str:
    cells = f'<td class="number">{escape(row.value)}</td><td class="note">{escape(row.note)}</td>'
    return f'<tr><th scope="row">{escape(row.what)}</th>{cells}</tr>'


def _timelines(result: AuditResult) -> str:
    drawn = [(series.title, timeline(series), bool(series.control)) for series in result.series]
    return "".join(
        f"<h2>{escape(title)}: L2 over time</h2>{drawing}"
        f'<p class="soft">Above the green line an edit counts as disrupted (the mean over the edits of one frame is '
        f"drawn).{' Dashed: a plain re-encode.' if control else ''}</p>"
        for title, drawing, control in drawn
        if drawing
    )


def _frames(pictures: list[Picture]) -> str:
    if not pictures:
        return ""
    return f'<h2>The whole frame</h2><div class="wide">{_figures(pictures)}</div>'


def _moments(moments: list[Moment]) -> str:
    if not moments:
        return ""
    return "<h2>Over time</h2>" + "".join(map(_moment, moments))


def _moment(moment: Moment) -> str:
    edits = "".join(
        f'<h3>{escape(edit.title)}: mean L2 {edit.l2:.3f}</h3><div class="strip">{_figures(edit.pictures)}</div>'
        for edit in moment.edits
    )
    head = f"<h3>{moment.time_seconds:.2f} s, face {moment.track}</h3>"
    return f'<section class="moment">{head}<div class="strip">{_figures(moment.pictures)}</div>{edits}</section>'


def _figures(pictures: Iterable[Picture]) -> str:
    return "".join(
        f'<figure><img src="{p.address}" alt="{escape(p.caption)}" width="{p.width}" height="{p.height}">'
        f"<figcaption>{escape(p.caption)}</figcaption></figure>"
        for p in pictures
    )
