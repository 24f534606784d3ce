"""One page of metrics from many processes: counters outlive the worker that counted, gauges end with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic

from ..metrics import Family, Sample
from .settings import MetricsSection

RETAINED_SECONDS = 600.0
"""A stream that was removed keeps its counters this long, so that the last of them are scraped; then its series end."""
SCRAPED_SECONDS = 60.0
"""After this long they were scraped at least once: where another stream needs the place, they end already."""
OTHER = "other"
OWNER = "jobs"
"""Who owns the series of all file jobs, and what their label `stream` says: job numbers have no bound."""
NOT_FROM_WORKERS = frozenset({"stream_guard_build"})
LEAST = frozenset({"stream_guard_engine_loaded"})
"""Gauges of which the least holds where several workers share a label; others add up."""
IN_FLIGHT, DROPPED = "stream_guard_frames_in_flight", "stream_guard_frames_dropped"
WORKER_DIED = "worker_died"
"""Why pictures are dropped that were in a worker when it was last heard of: they leave no more."""
CUMULATIVE = frozenset({"counter", "histogram", "summary"})

Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class _Group:
    """All workers that share one value of the label `stream`, and what those that ended had counted."""

    base: dict[str, dict[Key, float]] = field(default_factory=dict)
    live: dict[object, list[Family]] = field(default_factory=dict)
    kept_until: float | None = None


class Aggregate:
    """Thread-safe. `owner` is a stream's name (or `jobs`), `worker` any object that stands for one process."""

    def __init__(self, settings: MetricsSection, clock: Callable[[], float] = monotonic) -> None:
        self.settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[str, str]] = {}
        self._groups: dict[str, _Group] = {}
        self._labels: dict[str, str] = {}

    def label(self, owner: str) -> str:
        """What the label `stream` says of the owner; empty where the settings ask for no label."""
        with self._lock:
            self._group(owner)
            return self._labels[owner] if self.settings.stream_label else ""

    def update(self, owner: str, worker: object, families: Iterable[Family]) -> None:
        """What the worker has counted since it started; replaces what it said before."""
        wanted = [family for family in families if family.name not in NOT_FROM_WORKERS]
        with self._lock:
            self._kinds.update((family.name, (family.kind, family.help)) for family in wanted)
            self._group(owner).live[worker] = wanted

    def ended(self, owner: str, worker: object) -> None:
        """The worker is gone: its counts stay, its gauges go, and what it had in flight is counted as dropped."""
        with self._lock:
            group = self._groups.get(self._labels.get(owner, ""))
            if group is None:
                return
            for family in group.live.pop(worker, ()):
                if family.kind in CUMULATIVE:
                    _add(group.base.setdefault(family.name, {}), family)
                elif family.name == IN_FLIGHT:
                    self._lost(group, sum(value for _, _, value in family.samples))

    def removed(self, owner: str) -> None:
        """The stream is gone for good: its series end after a while."""
        with self._lock:
            label = self._labels.get(owner)
            if label is None:
                return
            group = self._groups[label]
            if label == owner != OTHER:
                group.kept_until = self._clock() + RETAINED_SECONDS
            else:  # what is shared by many must never count down
                del self._labels[owner]

    def page(self) -> list[Family]:
        """All families, each sample with the label `stream` where the settings ask for it."""
        with self._lock:
            self._forget()
            made: dict[str, dict[Key, float]] = {name: {} for name in self._kinds}
            for label, group in self._groups.items():
                extra = (("stream", label),) if self.settings.stream_label else ()
                for name, values in _values(group, self._kinds).items():
                    _merge(made[name], values, extra, self._kinds[name][0] in CUMULATIVE, name)
            return [_family(name, *self._kinds[name], values) for name, values in made.items() if values]

    def _group(self, owner: str) -> _Group:
        label = self._labels.get(owner)
        if label is None:
            label = owner if owner == OWNER or self._room() else OTHER
            self._labels[owner] = label
        group = self._groups.setdefault(label, _Group())
        group.kept_until = None
        return group

    def _lost(self, group: _Group, frames: float) -> None:
        if frames > 0:
            sample = (f"{DROPPED}_total", {"reason": WORKER_DIED}, frames)
            words = self._kinds.setdefault(DROPPED, ("counter", "Pictures that did not leave, by reason."))[1]
            _add(group.base.setdefault(DROPPED, {}), Family(DROPPED, "counter", words, (sample,)))

    def _room(self) -> bool:
        """For one more stream with a label of its own; the longest gone makes room, once it was scraped."""
        self._forget()
        own = self._groups.keys() - {OTHER, OWNER}
        if len(own) < self.settings.max_streams:
            return True
        gone = {label: until for label in own if (until := self._gone(label)) is not None}
        longest = min(gone, key=lambda label: gone[label], default=None)
        if longest is None or gone[longest] > self._clock() + RETAINED_SECONDS - SCRAPED_SECONDS:
            return False
        self._end(longest)
        return True

    def _forget(self) -> None:
        """End the series of streams that are long gone."""
        for label in list(self._groups):
            until = self._gone(label)
            if until is not None and until <= self._clock():
                self._end(label)

    def _gone(self, label: str) -> float | None:
        """Until when its series are kept at most; None for one that is there."""
        group = self._groups[label]
        return None if group.live else group.kept_until

    def _end(self, label: str) -> None:
        """Without the label all add up to totals, which stay."""
        group = self._groups.pop(label)
        del self._labels[label]
        if not self.settings.stream_label:
            rest = self._groups.setdefault(OTHER, _Group())
            for name, values in group.base.items():
                _merge(rest.base.setdefault(name, {}), values, (), True, name)


def _values(group: _Group, kinds: dict[str, tuple[str, str]]) -> dict[str, dict[Key, float]]:
    """The group's samples by family: what ended workers counted and what live ones say."""
    found = {name: dict(values) for name, values in group.base.items()}
    for families in group.live.values():
        for family in families:
            _add(found.setdefault(family.name, {}), family)
    return {name: values for name, values in found.items() if name in kinds}


def _add(values: dict[Key, float], family: Family) -> None:
    single: dict[Key, float] = {(name, tuple(labels.items())): value for name, labels, value in family.samples}
    _merge(values, single, (), family.kind in CUMULATIVE, family.name)


def _merge(
    into: dict[Key, float],
    values: dict[Key, float],
    extra: tuple[tuple[str, str], ...],
    cumulative: bool,
    name: str,
) -> None:
    for (sample, labels), value in values.items():
        key = (sample, (*((k, v) for k, v in labels if not extra or k != "stream"), *extra))
        if key not in into:
            into[key] = value
        elif sample.endswith("_info"):
            into[key] = max(into[key], value)
        elif name in LEAST and not cumulative:
            into[key] = min(into[key], value)
        else:
            into[key] += value


def _family(name: str, kind: str, words: str, values: dict[Key, float]) -> Family:
    samples: list[Sample] = [(sample, dict(labels), value) for (sample, labels), value in values.items()]
    return Family(name, kind, words, tuple(samples))
