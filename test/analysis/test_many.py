"""Several recordings, by processes and by a real Ray on this machine: failures, killed workers, one table of all."""

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from diffcut_ros.analysis.main import main
from support.recordings import record
from support.waiting import PATIENCE_S, wait_for

# Few cells, to be quick; with damping, segments depend on the frame before.
PARAMETERS = '/**:\n  ros__parameters: {damping: 0.3, color: {cells: 10}}\n'
LONG = 70


@pytest.fixture(scope='module')
def films(run, tmp_path_factory):
    """A folder with a long film, a short one, what is no film, and an analysis of the long one in one go."""
    folder = tmp_path_factory.mktemp('films')
    record(folder / 'long', LONG, depth=False)
    record(folder / 'short', 3, depth=False)
    (folder / 'bad.mcap').write_bytes(b'nothing')
    (folder / 'parameters.yaml').write_text(PARAMETERS)
    run(folder / 'long', '-o', folder / 'whole', *options(folder))
    return folder


def options(folder) -> tuple:
    return '--csv', '--no-video', '--no-report', '--params', folder / 'parameters.yaml'


def all_of(folder) -> list:
    return [folder / name for name in ('long', 'bad.mcap', 'short')]


@pytest.fixture
def start_group(start):
    """Function as `start`; all that the process has started ends with the test."""
    started = []

    def process(*arguments):
        started.append(start(*arguments))
        return started[-1]

    yield process
    for one in started:
        if one.poll() is None:
            one.send_signal(signal.SIGINT)  # so that it can end Ray
            try:
                one.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                one.kill()
                one.communicate()


@pytest.mark.parametrize('engine', ['processes', 'ray'])
def test_one_fails_and_one_is_killed(films, start_group, rows, engine):
    out = films / f'out_{engine}'
    process = start_group(*all_of(films), '-o', out, *options(films), '--jobs', 2, '--engine', engine)
    wait_for((out / 'long/.unfinished/part-000000').exists, process)
    worker = int((out / 'long/.lock').read_text())
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    if engine == 'processes':
        assert f'OMP_NUM_THREADS={threads}\0' in Path(f'/proc/{worker}/environ').read_text()
    os.kill(worker, signal.SIGKILL)
    printed, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, errors
    # Ray tells by itself of a worker that died.
    assert not printed or engine == 'ray'
    # Each is told once, with its path; the last line names what failed.
    assert len([line for line in errors.splitlines() if 'bad.mcap: expected a recording' in line]) == 1
    assert errors.count('/bad.mcap') == 1
    last = 'diffcut_analyze: 1 of 3 recordings failed or are incomplete: bad (exit status 2); reasons above, and in '
    assert errors.splitlines()[-1] == f'{last}the table recordings'
    assert f'{LONG} of {LONG} images segmented, outputs in {out}/long (tried 2 times)\n' in errors
    # It went on where it was.
    expected, merged = rows(films / 'whole/segments.csv'), rows(out / 'segments.csv')
    short = rows(out / 'short/segments.csv')
    assert len(short) >= 3
    assert merged == [{'recording': 'long'} | row for row in expected] + [{'recording': 'short'} | row for row in short]
    assert [row['recording'] for row in rows(out / 'frames.csv')] == ['long'] * LONG + ['short'] * 3
    recordings = rows(out / 'recordings.csv')
    assert [(row['recording'], row['status'], row['frames'], row['images'], row['problems']) for row in recordings] == [
        ('long', '0', str(LONG), str(LONG), '0'),
        ('bad', '2', '', '', ''),
        ('short', '0', '3', '3', '0'),
    ]
    assert 'cannot read it' in recordings[1]['text']
    assert {path.name for path in out.iterdir()} == {
        *('long', 'short', 'frames.csv', 'segments.csv', 'hierarchies.csv', 'problems.csv', 'recordings.csv')
    }


# Asks a Ray for its keys, as any client would that found its port.
CLIENT = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).internal_kv_keys(b'', None, timeout=60)
"""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it, also where Linux writes IPv4 as IPv6."""
    address = ip_address(host)
    return (getattr(address, 'ipv4_mapped', None) or address).is_loopback


def refusal(address: str, **environment) -> str:
    """What a client in another process is told; empty when it is served."""
    environment |= {'PATH': os.environ['PATH'], 'HOME': '/nowhere'}
    done = subprocess.run([sys.executable, '-c', CLIENT, address], env=environment, capture_output=True, text=True)
    return done.stderr if done.returncode else ''


def test_a_ray_of_its_own_serves_nobody_else(films, start_group, tmp_path):
    process = start_group(*all_of(films), '-o', tmp_path, *options(films), '--jobs', 2, '--engine', 'ray')
    wait_for((tmp_path / 'long/.unfinished/part-000000').exists, process)
    driver = psutil.Process(process.pid)
    processes = {one: one.net_connections('all') for one in (driver, *driver.children(recursive=True))}
    servers = [
        (one.name(), *connection.laddr)
        for one, connections in processes.items()
        for connection in connections
        if connection.family != socket.AF_UNIX
        and (connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM)
    ]
    assert {'gcs_server', 'raylet'} < {name for name, *_ in servers}
    assert not [server for server in servers if not is_loopback(server[1])]

    # Whoever is on this machine needs the token, which only this user can see.
    token = next(one for one in processes if one.name() == 'raylet').environ()['RAY_AUTH_TOKEN']
    assert not [one.name() for one in processes if token in ' '.join(one.cmdline())]
    address = next(f'127.0.0.1:{port}' for name, _, port in servers if name == 'gcs_server')
    clients = [
        {'RAY_AUTH_MODE': 'token', 'RAY_AUTH_TOKEN': token},
        {'RAY_AUTH_MODE': 'disabled'},
        {'RAY_AUTH_MODE': 'token', 'RAY_AUTH_TOKEN': '0' * 64},
    ]
    with ThreadPoolExecutor() as threads:  # at once: one after the other, they would outlast the analysis
        right, *others = threads.map(lambda client: refusal(address, **client), clients)
    assert not right
    assert all('InvalidAuthToken' in other for other in others), others

    paths = {
        Path(connection.laddr)
        for connections in processes.values()
        for connection in connections
        if connection.family == socket.AF_UNIX and connection.laddr.startswith('/')
    }
    assert {'raylet', 'plasma_store'} <= {path.name for path in paths}
    for path in paths:
        assert [folder for folder in path.parents if folder.stat().st_mode & 0o777 == 0o700], path
    process.send_signal(signal.SIGTERM)
    assert 'interrupted; what is done is kept' in process.communicate(timeout=PATIENCE_S)[1]
    assert not [path for path in paths if path.exists()]
    # Those that have ended may wait for their parent, or the system, to take notice.
    running = [one for one in processes if one.is_running()]
    assert not [one for one in running if psutil.pid_exists(one.pid) and one.status() != psutil.STATUS_ZOMBIE]


def test_sigterm_ends_all_that_was_started(films, start_group, tmp_path):
    process = start_group(*all_of(films), '-o', tmp_path, *options(films), '--jobs', 2)
    wait_for((tmp_path / 'long/.unfinished/part-000000').exists, process)
    worker = int((tmp_path / 'long/.lock').read_text())
    process.send_signal(signal.SIGTERM)
    assert 'interrupted; what is done is kept' in process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def written(path) -> tuple[int, int]:
    """What changes when a file is written anew."""
    about = path.stat()
    return about.st_ino, about.st_mtime_ns


def test_what_is_complete_is_skipped(films, tmp_path, rows):
    out = tmp_path / 'out'
    main([str(films / 'short'), '-o', str(out / 'short'), *map(str, options(films))])
    before = written(out / 'short/run.json')
    record(tmp_path / 'other', 2, depth=False)
    bags = [str(films / 'short'), str(tmp_path / 'other')]
    arguments = [*bags, '-o', str(out), *map(str, options(films))]
    assert main([*arguments, '--resume']) == 0
    assert written(out / 'short/run.json') == before
    assert [row['recording'] for row in rows(out / 'frames.csv')] == ['short'] * 3 + ['other'] * 2
    # As with one recording: nothing is replaced unasked.
    assert main(arguments) == 2
    assert main([*arguments, '--overwrite']) == 0
    assert written(out / 'short/run.json') != before


def test_parquet_of_all(films, tmp_path, rows):
    parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed: Parquet cannot be written')
    record(tmp_path / 'other', 2, depth=False)
    arguments = [
        str(films / 'short'),
        str(tmp_path / 'other'),
        '--no-video',
        '--no-report',
        '--params',
        str(films / 'parameters.yaml'),
    ]
    assert main([*arguments, '-o', str(tmp_path / 'out')]) == 0
    for name in ('frames', 'segments', 'hierarchies', 'problems'):
        merged = parquet.read_table(tmp_path / f'out/{name}.parquet')
        parts = [parquet.read_table(tmp_path / f'out/{one}/{name}.parquet') for one in ('short', 'other')]
        assert merged['recording'].to_pylist() == ['short'] * parts[0].num_rows + ['other'] * parts[1].num_rows
        assert merged.drop_columns('recording').to_pylist() == [row for part in parts for row in part.to_pylist()]
        assert merged.schema.field('recording').metadata[b'meaning']
    assert parquet.read_table(tmp_path / 'out/recordings.parquet')['frames'].to_pylist() == [3, 2]


def test_tables_of_two_kinds_are_not_mixed(films, tmp_path, capsys):
    record(tmp_path / 'other', 2, depth=False)
    own = ['--no-video', '--no-report', '--params', str(films / 'parameters.yaml')]
    assert main([str(films / 'short'), '-o', str(tmp_path / 'out/short'), '--csv', *own]) == 0
    assert main([str(films / 'short'), str(tmp_path / 'other'), '-o', str(tmp_path / 'out'), '--resume', *own]) == 1
    assert 'out/short: holds a complete analysis with another output.csv; take another' in capsys.readouterr().err
    assert json.loads((tmp_path / 'out/other/run.json').read_text())['frames'] == 2


def test_what_ray_cannot_do(films, run, tmp_path, monkeypatch):
    films_and_out = films / 'long', films / 'short', '-o', tmp_path / 'out', '--csv', '--engine', 'ray'
    _, errors = run(*films_and_out, '--ray-address', '127.0.0.1:1', status=2)
    assert errors.startswith('diffcut_analyze: --ray-address: expected a cluster at 127.0.0.1:1, found none: ')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    (tmp_path / 'cuda.yaml').write_text('/**:\n  ros__parameters: {device: cuda}\n')
    _, errors = run(*films_and_out, '--params', tmp_path / 'cuda.yaml', status=2)
    assert errors == 'diffcut_analyze: device: cuda: expected GPUs in the cluster local, found none\n'
    (tmp_path / ('deep' * 25)).mkdir()
    monkeypatch.setenv('RAY_TMPDIR', str(tmp_path / ('deep' * 25)))  # too long for a socket
    _, errors = run(*films_and_out, status=1)
    assert errors.startswith('diffcut_analyze: --engine ray: Ray did not start on this machine: ')
    assert errors.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_recordings_of_one_name_are_refused(tmp_path, capsys):
    films = [str(record(tmp_path / folder / 'film', 2)) for folder in 'ab']
    assert main([*films, '-o', str(tmp_path / 'out'), '--csv']) == 2
    assert 'received film twice; analyse them in calls of their own' in capsys.readouterr().err


def test_wrong_input_for_all_is_a_wrong_command(tmp_path, capsys):
    films = [tmp_path / name for name in ('a.mcap', 'b.mcap')]
    for film in films:
        film.write_bytes(b'nothing')
    assert main([*map(str, films), '-o', str(tmp_path / 'out'), '--jobs', '2']) == 2
    assert '2 of 2 recordings failed or are incomplete' in capsys.readouterr().err


@pytest.mark.parametrize('ending', ['.csv', '.parquet'])
def test_tables_of_an_older_version(films, run, rows, tmp_path, ending):
    """A column that an analysis which is resumed does not have is missing in the table of all, the others are right."""
    if ending == '.parquet':
        parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed: Parquet cannot be written')
    quick = '--no-video', '--no-report', '--params', films / 'parameters.yaml', *(['--csv'] if ending == '.csv' else [])
    record(tmp_path / 'older', 2, depth=False)
    films_and_out = tmp_path / 'older', films / 'short', '-o', tmp_path / 'out'
    run(*films_and_out, *quick)
    older, merged = tmp_path / 'out/older/segments', tmp_path / 'out/segments'

    def read(path) -> list[dict]:
        path = path.with_suffix(ending)
        return rows(path) if ending == '.csv' else parquet.read_table(path).to_pylist()

    expected = read(merged)
    kept = [name for name in read(older)[0] if name not in ('segment', 'confidence')]
    if ending == '.csv':
        lines = [','.join(kept), *(','.join(row[name] for name in kept) for row in read(older))]
        older.with_suffix('.csv').write_text('\n'.join([*lines, '']))
    else:
        table = parquet.read_table(older.with_suffix('.parquet'))
        parquet.write_table(table.select(kept), older.with_suffix('.parquet'))
    run(*films_and_out, *quick, '--resume')
    for row in expected:
        if row['recording'] == 'older':
            row['segment'] = '' if ending == '.csv' else None
    assert read(merged) == expected
