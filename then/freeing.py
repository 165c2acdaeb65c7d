"""Memory that was let go, given back to the system.

The allocator of glibc keeps it for what comes next: after a step that made a
hundred thousand records that is a third of what the process holds, and what
comes next are small steps. The loop calls, once very much came to rest.
"""

from __future__ import annotations


def give_back() -> None:
    """Gives the system what the C library keeps and nobody uses; nothing, where it is another library than glibc.

    Cost: some ms, in which other threads that want memory wait; 10 ms more the first time.
    """
    try:
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
    except (ImportError, OSError, AttributeError):
        return
