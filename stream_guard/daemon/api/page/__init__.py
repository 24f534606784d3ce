"""The operator's page: a document, a style sheet and four small scripts, all from here and as they are."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response

HERE = Path(__file__).parent
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
NAMES = ("page.css", "page.js", "api.js", "views.js", "words.js", "icon.svg")
FILES = {"/": "index.html"} | {f"/{name}": name for name in NAMES}
"""Paths and files."""
router = APIRouter(include_in_schema=False)


def _file(name: str) -> Response:
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return Response((HERE / name).read_bytes(), media_type=TYPES[Path(name).suffix], headers=headers)


def _route(path: str, name: str) -> None:
    @router.get(path)
    def file() -> Response:
        return _file(name)


for _path, _name in FILES.items():
    _route(_path, _name)
