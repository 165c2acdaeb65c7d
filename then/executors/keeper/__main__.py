"""What `python -I -S` runs: finds the other files of the keeper beside this one.

A short file, because a script is compiled at each start; the others come from
their cached byte code.
"""

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from keeper.program import main

main(os.fsencode(sys.argv[1]), int(sys.argv[2]))
