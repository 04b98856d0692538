"""`python -m tests.counts`: count anew, say what has changed, and keep it."""

from __future__ import annotations

from microvm_image import default

from . import figures


def main() -> None:
    """Count and keep."""
    default()  # which is built if there is none
    _, before = figures.kept()
    after = {name: count() for name, count in figures.SUBJECTS.items()}
    for name, counts in after.items():
        for change in figures.changes(before.get(name, {}), counts):
            print(f"{name}: {change}")
    figures.keep(after)


if __name__ == "__main__":
    main()
