"""What the scripts share; a library, never run.

Importing any part of it sets the CPU and the log up first, since Paddle reads these settings at its own import.
"""

from core.cpu import prepare_paddle
from core.log import quiet_libraries

prepare_paddle()
quiet_libraries()
