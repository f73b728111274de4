"""What samplers and stopping rules are called, on the command line and in files."""

from typing import Literal

SamplerName = Literal["tpe", "random", "grid", "gp", "cmaes", "quasirandom", "auto"]
StoppingName = Literal["none", "asha", "hyperband", "median"]
