"""Image messages to arrays, with the conversion library that is there, and back; see `stream.images`."""

from functools import partial

import numpy as np
from sensor_msgs.msg import Image

from diffcut_ros.node.messages import MESSAGES
from diffcut_ros.stream import images

try:
    from cv_bridge import CvBridge
except ModuleNotFoundError as error:
    if error.name != 'cv_bridge':
        raise
    convert = images.convert_with_rosbags  # cv_bridge comes with ROS distributions only
else:
    convert = CvBridge().imgmsg_to_cv2
    try:
        convert(Image(encoding='rgb8', height=1, width=1, step=3, data=bytes(3)), 'bgr8')
    except (ImportError, AttributeError) as error:
        # It loads its compiled part at the first image, and that of most distributions is for NumPy 1.
        raise ImportError(
            f'cv_bridge: expected one that is built for NumPy {np.__version__}, received: {error}. Remove the NumPy '
            "that pip has installed over the distribution's, or install one below 2: pip install 'numpy<2'"
        ) from error

decode_image = partial(images.decode_image, convert=convert)
decode_compressed = partial(images.decode_compressed, convert=convert)
encode_image = MESSAGES.image
