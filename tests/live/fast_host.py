"""A host on the clock of `tests.live.fast`."""

from tbv8.live import host
from tests.live.fast import now_ms

if __name__ == "__main__":
    host.main(now_ms)
