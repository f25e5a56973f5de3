"""Checkpoints of the Hugging Face Hub: found on this machine, or downloaded when that is allowed."""

import fcntl
import hashlib
import os
import re
import textwrap
from pathlib import Path

from huggingface_hub import HfApi, ModelCard, constants, get_hf_file_metadata, hf_hub_url, snapshot_download
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import build_hf_headers

from diffcut_ros.features.files import CONFIG, INDEX, NETWORKS, PIPELINE, PREPROCESSORS, check_complete, select_weights
from diffcut_ros.features.models import MODELS, NAMES, check_model

# Tiny image encoders by the pipeline of the checkpoint whose latents they make.
TINY_VAES = {'StableDiffusionXLPipeline': 'madebyollin/taesdxl', 'StableDiffusionPipeline': 'madebyollin/taesd'}
# The etag of a large file; that of a small one is something else.
_SHA256 = re.compile('[0-9a-f]{64}')
_INDICES = [PIPELINE, CONFIG, *PREPROCESSORS]
_TEXTS = ('scheduler', 'tokenizer', 'tokenizer_2')


def locate(name: str, allow_download: bool, exported: str, revision: str | None = None) -> Path:
    """Return the folder of a checkpoint: `name` itself where it is one, else as `checkpoint_folder`.

    Args:
        name: folder, known name or model id.
        allow_download, exported, revision: see `checkpoint_folder`.

    Raises:
        ValueError: as `checkpoint_folder`, and for a name that stands for nothing.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    check_model(name)
    return checkpoint_folder(MODELS.get(name, name), allow_download, exported, revision)


def whole_checkpoint(name: str, allow_download: bool, revision: str | None = None) -> tuple[Path, dict[str, str]]:
    """Return the folder of a checkpoint that is no bundle, and where it is from: model, revision and licence.

    Args:
        name: folder, known name or model id.
        allow_download, revision: see `checkpoint_folder`.

    Raises:
        ValueError: for a bundle, or a checkpoint that is not there.
    """
    folder = locate(name, allow_download, name, revision)
    if (folder / INDEX).is_file():
        raise ValueError(
            f'{folder}: expected a whole checkpoint, found a bundle, which holds only a part of one; give the folder '
            'or model id that it was exported from'
        )
    return folder, {'model': MODELS.get(name, name), 'revision': revision_of(folder), 'licence': licence_of(folder)}


def checkpoint_folder(model_id: str, allow_download: bool, exported: str, revision: str | None = None) -> Path:
    """Return the folder of a checkpoint on this machine.

    Args:
        model_id: 'owner/name'.
        allow_download: whether what is missing may be fetched; what is there is never fetched again.
        exported: the model whose export fetches this one; for the error.
        revision: branch, tag or commit; None: the one that is there, else the newest.

    Raises:
        ValueError: when it is not here and may not or cannot be fetched, with the command that fetches it.
    """
    cached = _cached(model_id, revision)
    if cached is not None and _is_complete(cached):
        return cached
    if not allow_download:
        raise _absent(model_id, exported)
    return _download(model_id, revision)


def file_names(model_id: str, allow_download: bool) -> set[str]:
    """Return the names of the files of a model: those on this machine, else, where that is allowed, of the Hub.

    Raises:
        ValueError: when it is not here and may not or cannot be looked up, with the command that fetches it.
    """
    cached = _cached(model_id, None)
    names = {path.name for path in cached.iterdir()} if cached else set()
    if names & {PIPELINE, CONFIG}:
        return names
    if not allow_download:
        raise _absent(model_id, model_id)
    try:
        return {file.rfilename for file in HfApi().model_info(model_id).siblings or ()}
    except Exception as error:
        raise _unreachable(model_id, error) from error


def revision_of(folder: Path) -> str:
    """Return the commit of a folder that came from the Hub, or an empty string."""
    return folder.name if folder.parent.name == 'snapshots' else ''


def licence_of(folder: Path) -> str:
    """Return the licence that the model card in a folder names, or 'unknown'."""
    try:
        return str(ModelCard.load(folder / 'README.md').data.get('license') or 'unknown')
    except Exception:  # no card, or one that its own library cannot read: nothing depends on it
        return 'unknown'


def choose_files(names: list[str]) -> list[str]:
    """Return which files of a repository to fetch: configurations, tokenizers, and each weight once (fp16 if there)."""
    chosen = [name for name in names if name in (*_INDICES, 'README.md')]
    chosen += select_weights([name for name in names if '/' not in name], prefer_half=True)
    for part in (*NETWORKS, *_TEXTS):
        inside = [name for name in names if name.rpartition('/')[0] == part]
        chosen += select_weights(inside, prefer_half=True)
        chosen += [name for name in inside if name.endswith(('.json', '.txt', '.model'))]
    return chosen


def _cached(model_id: str, revision: str | None) -> Path | None:
    try:
        return Path(snapshot_download(model_id, revision=revision, local_files_only=True, allow_patterns=_INDICES))
    except (LocalEntryNotFoundError, ValueError, OSError):
        return None


def _is_complete(folder: Path) -> bool:
    try:
        check_complete(folder)
    except ValueError:
        return False
    return True


def _download(model_id: str, revision: str | None) -> Path:
    try:
        info = HfApi().model_info(model_id, revision=revision, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        files = choose_files(list(sizes))
        total = sum(sizes[name] for name in files)
        print(
            f'{model_id}: {len(files)} of {len(sizes)} files, {total / 1e6:,.0f} MB in all; what is here already is '
            'not fetched again'
        )
        for name in files:
            if name.endswith('.safetensors'):
                _fetch_weights(model_id, info.sha, name)
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=files))
    except Exception as error:  # of whichever HTTP library the Hub's client is built on
        raise _unreachable(model_id, error) from error


def _absent(model_id: str, exported: str) -> ValueError:
    switches = ' or '.join(f'{kind}.allow_download' for kind in NAMES)
    return ValueError(
        f'model {model_id} is not on this machine, and downloads are not allowed. Fetch it once: diffcut_export '
        f'{exported} FOLDER, then use FOLDER as backend; or set allow_download (the parameter {switches}) to true'
    )


def _unreachable(model_id: str, error: Exception) -> ValueError:
    found = textwrap.shorten(str(error), 200).rstrip('.')
    if isinstance(error, GatedRepoError):
        advice = (
            f'Its licence has to be accepted: on {constants.ENDPOINT}/{model_id}, then log in with `hf auth login` and '
            'run the same command again; or give a folder that you have it in'
        )
    else:
        advice = (
            'What was fetched is kept; check name and network, and for a model behind a licence log in with '
            '`hf auth login`, then run the same command again'
        )
    return ValueError(f'model {model_id} cannot be fetched: {found}. {advice}')


def _fetch_weights(model_id: str, commit: str, name: str) -> None:
    """Fetch a large file into the Hub's cache, from where an earlier attempt was interrupted.

    The Hub's own client starts such a file anew. It finds what is fetched here by its place: blobs are named by etag.
    """
    url = hf_hub_url(model_id, name, revision=commit, endpoint=constants.ENDPOINT)
    found = get_hf_file_metadata(url)
    blob = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model_id, repo_type='model') / 'blobs' / found.etag
    blob.parent.mkdir(parents=True, exist_ok=True)
    if blob.exists():
        return
    with blob.with_name(f'{blob.name}.part').open('ab') as part:
        fcntl.flock(part, fcntl.LOCK_EX)  # another export of the same model waits here
        if blob.exists():
            Path(part.name).unlink(missing_ok=True)
            return
        start = part.seek(0, os.SEEK_END)  # only now: the other may have written
        if start < found.size:
            headers = build_hf_headers()
            http_get(url, part, resume_size=start, headers=headers, expected_size=found.size, displayed_filename=name)
        part.flush()
        os.fsync(part.fileno())
        # A part may have lost its end in a power cut, and other programs rely on what is in this cache.
        if part.tell() != found.size or (_SHA256.fullmatch(found.etag) and _sha256(Path(part.name)) != found.etag):
            Path(part.name).unlink()
            raise ValueError(f'{name} arrived damaged and was discarded')
        Path(part.name).rename(blob)


def _sha256(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
