"""A process that reads damaged videos: `python -m tests.media.fuzz_reader FILE FIRST LAST`, one line a damage.

Each damage is made from FILE and its number alone, so that one that kills or stops this process can be made again. A
line is {"seed", "what", "frames", "said", "mib"}; `said` is our error's words. Any other error ends the process.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from stream_guard.errors import StreamGuardError
from stream_guard.live.limits import resident_bytes
from stream_guard.media import open_live, open_source
from stream_guard.types import Frame

MOST_FRAMES = 200
MOST_SECONDS = 0.5
"""A file is read live at its own speed, and damaged times may mean hours."""
ADDRESS_SPACE = 6 << 30


def damaged(clean: bytes, seed: int) -> bytes:
    """The file with a few wounds; every tenth is nothing but noise."""
    chance = random.Random(seed)
    if seed % 10 == 9:
        return chance.randbytes(chance.randrange(1, 20_000))
    data = bytearray(clean)
    for _ in range(chance.randrange(1, 9)):
        # Headers are short and decide most: half of the wounds are there.
        reach = min(len(data), 600) if chance.random() < 0.5 else len(data)
        place, length = chance.randrange(reach), chance.randrange(1, 64)
        kind = chance.randrange(6)
        if kind == 0:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[place : place + length] = chance.randbytes(length)
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = data[place : place + length] * chance.randrange(1, 20)
        elif kind == 4:
            data[place : place + 4] = chance.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\x80\0\0\0"))
        else:
            del data[max(place, 1) :]
        if len(data) < 2:
            break
    return bytes(data)


def as_file(path: Path) -> int:
    count = 0
    with open_source(str(path), threads=1) as source:
        for item in source.read():
            count += isinstance(item, Frame)
            if count > MOST_FRAMES:
                break
    return count


def as_live(path: Path) -> int:
    count = 0
    bounds = {"open_timeout_seconds": 2.0, "read_timeout_seconds": 2.0, "stall_seconds": 1.0}
    with open_live(str(path), allow_files=True, max_width=1920, max_height=1080, threads=1, **bounds) as source:
        timer = threading.Timer(MOST_SECONDS, source.interrupt)
        timer.start()
        try:
            for item in source.read():
                count += isinstance(item, Frame)
        finally:
            timer.cancel()
            timer.join()
    return count


READERS: tuple[Callable[[Path], int], ...] = (as_file, as_live)


def main(file: str, first: int, last: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    clean = Path(file).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"damaged{Path(file).suffix}"
        for seed in range(first, last):
            path.write_bytes(damaged(clean, seed))
            for reader in READERS:
                count, said = 0, ""
                try:
                    count = reader(path)
                except StreamGuardError as error:
                    said = str(error)
                memory = round(resident_bytes() / 2**20, 1)
                line = {"seed": seed, "what": reader.__name__, "frames": count, "said": said, "mib": memory}
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
