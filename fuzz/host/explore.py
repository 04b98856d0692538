"""The search in the host: scripts of a guest that does all it can."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import Phase, given, seed, settings

from ..search import smallest
from ..settings import SETTINGS
from .harness import play
from .known import CORPUS
from .script import Script
from .strategies import scripts

_BATCH = settings(
    SETTINGS,
    max_examples=150,
    database=None,
    print_blob=False,
    phases=[Phase.generate, Phase.shrink],
)


def explore(number: int, played: Callable[[int], None]) -> None:
    """Play a batch of scripts, and say of each how many frames it had.

    :raises Disagreement: the host is wrong, or what is known of it; the script is in the corpus.
    """
    with smallest(CORPUS, ".json") as failure:

        @_BATCH
        @seed(number)
        @given(script=scripts())
        def examples(script: Script) -> None:
            failure.assume_time()
            try:
                played(play(script).frames)
            except Exception as error:
                failure.note(error, script.to_json().encode())
                raise

        examples()
