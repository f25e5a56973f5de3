"""The log of a node, which other nodes' names and messages cannot garble."""

import os
from typing import Any

from rclpy.impl import rcutils_logger

from diffcut_ros.printable import printable

# rclpy tells callers apart, for `once` and throttles, by the first file that is not one of these.
rcutils_logger._internal_callers.append(os.path.realpath(__file__))


class PrintableLogger(rcutils_logger.RcutilsLogger):
    """Logs each message in one line of bounded length."""

    def log(self, message: Any, severity: Any, **options: Any) -> bool:
        """Log a message, see `RcutilsLogger.log`."""
        return super().log(printable(message), severity, **options)
