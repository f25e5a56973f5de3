"""A lifecycle manager's side of a bond, as bondcpp does it: says that it is alive, prints what it hears as JSON lines.

Run with the package `bond` in the environment: bond_manager.py ID TOPIC
"""

import json
import sys

import rclpy
from bond.msg import Status


def main() -> None:
    name, topic = sys.argv[1:]
    rclpy.init()
    node = rclpy.create_node('lifecycle_manager')
    own = Status(id=name, instance_id='the manager', active=True, heartbeat_period=0.1, heartbeat_timeout=4.0)

    def hear(status: Status) -> None:
        if status.id == own.id and status.instance_id != own.instance_id:
            fields = status.get_fields_and_field_types()
            print(json.dumps({field: getattr(status, field) for field in fields if field != 'header'}), flush=True)

    node.create_subscription(Status, topic, hear, 100)
    publisher = node.create_publisher(Status, topic, 5)
    node.create_timer(own.heartbeat_period, lambda: publisher.publish(own))
    rclpy.spin(node)


if __name__ == '__main__':
    main()
