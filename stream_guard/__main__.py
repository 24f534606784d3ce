"""The entry point of the command `stream-guard` and of `python -m stream_guard`."""

import contextlib
import os
import signal
from types import FrameType

# Our matrix products are small and run beside the decoder, the network and the encoder: OpenBLAS's threads would spin
# on the cores that those need (27 ms of CPU a picture against 4.5). It reads this once, when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from .allocator import keep_large_blocks_apart
from .errors import ExitCode

keep_large_blocks_apart()


def main() -> None:
    """The command line, loaded here so that Ctrl-C meanwhile ends it as stopped."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    from .cli import main as run

    run()


def _stop(number: int, frame: FrameType | None) -> None:
    """While no command listens yet: nothing was begun, so there is nothing to end but this process."""
    with contextlib.suppress(OSError):  # a closed stderr
        os.write(2, b"stream-guard: stopped\n")
    os._exit(ExitCode.STOPPED)


if __name__ == "__main__":
    main()
