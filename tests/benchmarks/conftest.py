"""The benchmarks lie beside Flux in a clone; they are not installed."""

import sys

from checkout import ROOT

# Last, so that the Flux under test is not that of the clone where it is to be the wheel's.
sys.path.append(str(ROOT))
