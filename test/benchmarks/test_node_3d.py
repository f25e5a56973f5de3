import re
import subprocess
import sys


def test_the_command_prints_a_table():
    command = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'node_3d', '--segments', '3', '--repeats', '2']
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert '3 segments in space' in done.stdout
    for name in (
        'locate_segments',
        'back_project',
        'point_cloud, organized',
        'detections_3d',
        'markers',
        'directions through a lens, once',
    ):
        assert re.search(rf'{name} .*\d\.\d \(\d+\.\d\)', done.stdout)
