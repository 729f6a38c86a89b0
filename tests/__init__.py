"""Set before numpy and torch are imported, and for the processes that tests start: one thread each.

Threads of several tests and servers that fight over few cores cost twenty times the time.
"""

import os

from service.logs import log_as_json

os.environ.setdefault("OMP_NUM_THREADS", "1")
log_as_json()
