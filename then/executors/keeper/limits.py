"""More descriptors for the keeper of many orphans, and none of that for its children."""

from __future__ import annotations

ORPHANS_MANY = 256


class Limits:
    """Raises the limit where there are many orphans, each of which is watched through a descriptor.

    As a context: the limit is what it was, for what is spawned inside. (One that is
    raised makes programs fail that use `select`.)
    """

    def __init__(self, orphans: int) -> None:
        self.is_raised = orphans > ORPHANS_MANY
        if self.is_raised:
            import resource

            self.soft, self.hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            self.__exit__()

    def _set(self, soft: int) -> None:
        import resource

        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, self.hard))
        except (OSError, ValueError):
            pass

    def __enter__(self) -> None:
        if self.is_raised:
            self._set(self.soft)

    def __exit__(self, *_: object) -> None:
        if self.is_raised:
            self._set(self.hard)
