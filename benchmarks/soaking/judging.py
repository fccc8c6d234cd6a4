"""Which promises do not hold, and the table of what was seen."""

from __future__ import annotations

from soaking.load import Soak
from soaking.sampling import MIB, Sample

# What may grow between the second quarter and the end: noise of the allocator, not a leak.
GROWTH = 0.10
GROWTH_BYTES = 24 * MIB


def judge(soak: Soak, before: Sample, samples: list[Sample], after: Sample) -> list[str]:
    """The promises that do not hold."""
    broken = list(soak.broken)
    if soak.untold:
        broken.append(f"so did {soak.untold} more requests")
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-max(1, quarter) :]
    if early:
        first = sum(one.rss for one in early) / len(early)
        last = sum(one.rss for one in late) / len(late)
        if last - first > max(first * GROWTH, GROWTH_BYTES):
            broken.append(f"memory grew from {first / MIB:.0f} to {last / MIB:.0f} MiB")
        if max(one.threads for one in late) > max(one.threads for one in early) + 4:
            broken.append("the number of threads grew")
    for name in ("incoming", "scratch"):
        if getattr(after, name):
            broken.append(f"{getattr(after, name)} files are left in {name}")
    if after.tasks > before.tasks + 2:
        broken.append(f"{after.tasks - before.tasks} tasks are left")
    if after.descriptors > before.descriptors + 16:
        broken.append(f"{after.descriptors - before.descriptors} descriptors are left")
    return broken


def table(soak: Soak, before: Sample, samples: list[Sample], after: Sample) -> None:
    print(
        f"{'':12} {'rss MiB':>8} {'files':>6} {'threads':>8} {'tasks':>6} {'incoming':>9} {'scratch':>8}"
    )
    middle = samples[len(samples) // 4] if samples else before
    rows = (
        ("before", before),
        ("at a quarter", middle),
        ("at the end", (samples or [before])[-1]),
        ("when all left", after),
    )
    for name, one in rows:
        print(
            f"{name:13} {one.rss / MIB:7.0f} {one.descriptors:6} {one.threads:8} {one.tasks:6} "
            f"{one.incoming:9} {one.scratch:8}"
        )
    quarter = max(1, len(samples) // 4)
    means = [samples[at * quarter : (at + 1) * quarter] for at in range(4)]
    told = [f"{sum(one.rss for one in part) / len(part) / MIB:.0f}" for part in means if part]
    full = after.caches / MIB
    print(f"\nrss by quarter, MiB: {', '.join(told)}; caches hold {full:.1f} MiB")
    print(f"\n{'':12} {'requests':>9} {'p50 ms':>8} {'p99 ms':>8}")
    for kind, took in sorted(soak.took.items()):
        print(
            f"{kind:12} {soak.asked[kind]:9} {percentile(took, 0.5) * 1000:8.1f} {percentile(took, 0.99) * 1000:8.1f}"
        )
    faults = sum(n for name, n in soak.registry.injected.items() if name)
    print(
        f"\n{soak.asked['left']} clients left in the middle; {faults} of "
        f"{soak.registry.injected.total()} answers of the registry were faults; "
        f"cold requests that failed with it: {dict(soak.failed)}"
    )


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
