"""What the scripts share; a library, never run.

Importing any part of it sets the CPU up first, since Paddle reads these settings at its own import.
"""

from core.cpu import prepare_cpu

prepare_cpu()
