"""What the rungs start inherits signals as a process finds them that was started by hand."""

from tests.support import signals

signals.restore()
