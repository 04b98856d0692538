"""`python -m tests.counts`: count again, print the changes, and save the counts."""

from __future__ import annotations

from microvm_image import default

from . import figures


def main() -> None:
    default()  # the image is built if the cache lacks it
    _, before = figures.kept()
    after = {name: count() for name, count in figures.SUBJECTS.items()}
    for name, counts in after.items():
        for change in figures.changes(before.get(name, {}), counts):
            print(f"{name}: {change}")
    figures.keep(after)


if __name__ == "__main__":
    main()
