"""Ways to score segments. A new one is a file beside this and a line in `PROTOCOLS`."""

from diffcut_ros.evaluation.protocols.paper import PAPER
from diffcut_ros.evaluation.protocols.plain import PLAIN
from diffcut_ros.evaluation.protocols.view import Protocol, Score, View

__all__ = ['PROTOCOLS', 'Protocol', 'Score', 'View']

PROTOCOLS = {'paper': PAPER, 'plain': PLAIN}
