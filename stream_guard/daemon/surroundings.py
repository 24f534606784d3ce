"""What worker processes inherit of the daemon's environment: all but the settings and the secrets in it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from .layering import PREFIX

NEEDED = re.compile(
    r"(PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|TZ|TMPDIR|HOSTNAME|PWD|VIRTUAL_ENV|LD_LIBRARY_PATH|REQUESTS_CA_BUNDLE"
    r"|(LC|XDG|PYTHON|OMP|OPENBLAS|MKL|ORT|OPENVINO|CUDA|NVIDIA|OTEL|SSL_CERT|STREAM_GUARD)_?\w*|\w+_proxy|\w+_PROXY)\Z"
)
"""Variables that programs look at themselves: a worker has them also where the file names them."""


def inherited(environment: Mapping[str, str], named: Collection[str]) -> dict[str, str]:
    """The environment without STREAM_GUARD__ settings and without what the file names as ${NAME}: stream keys, tokens.

    All others stay: stages that others wrote may look at them.
    """
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(PREFIX) and (name not in named or NEEDED.match(name))
    }
