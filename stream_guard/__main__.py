"""The entry point of the command `stream-guard` and of `python -m stream_guard`."""

import os

# Our matrix products are small and run beside the decoder, the network and the encoder: OpenBLAS's threads would spin
# on the cores that those need (27 ms of CPU a picture against 4.5). It reads this once, when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from .allocator import keep_large_blocks_apart
from .cli import main

keep_large_blocks_apart()

if __name__ == "__main__":
    main()
