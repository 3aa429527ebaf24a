"""Reference oracles: every piece again, from its equation, as plain float64 loops over one head and one sequence.

They share no code with the package and import only numpy and the standard library: that independence is their whole
value. Names are KIND_NAME with the catalogue's kind in the singular, so that an exam can look them up; what an oracle's
module defines, this package has. Speed does not matter here.
"""
# ruff: noqa: F403

from tests.oracles.composition import *
from tests.oracles.helpers import *
from tests.oracles.kernels import *
from tests.oracles.low_rank import *
from tests.oracles.masks import *
from tests.oracles.mixers import *
from tests.oracles.modifiers import *
from tests.oracles.normalizers import *
from tests.oracles.positions import *
from tests.oracles.recurrences import *
from tests.oracles.scores import *
from tests.oracles.sequences import *
from tests.oracles.sorting import *
from tests.oracles.synthesizers import *
