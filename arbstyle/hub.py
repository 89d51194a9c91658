"""Models on the Hugging Face Hub: a folder of `model.safetensors`, `config.json` and a model card.

The layout is that of huggingface_hub's `PyTorchModelHubMixin`. `model.safetensors` describes itself;
`config.json` tells people and the Hub the same, and us, before a download, whether the model is ours.
"""

from __future__ import annotations

import functools
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import arbstyle
from arbstyle.errors import ArbstyleError, one_line
from arbstyle.images import atomic_path
from arbstyle.networks import ArbitraryStyler, save_styler
from arbstyle.networks.model_file import describe_styler

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LIBRARY = "arbstyle"
MODEL, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

_NAME = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?")


def find_model(
    name: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> Path:
    """The file of a model: the one named, that in a folder, or that in a repository of the Hub.

    Args:
        name: a path, or ``owner/name`` or ``owner/name@revision`` where there is no such path.
        revision: a branch, tag or commit; default: the newest.
        cache_dir: where downloads are kept; default: huggingface_hub's (``HF_HOME``). What is there is used
            when there is no network.
        token: for private repositories; default: that of ``hf auth login``.

    Raises:
        ArbstyleError: no such repository or revision, not a model of arbstyle, or no network and no copy.
    """
    path = Path(name)
    found = _NAME.fullmatch(name) if isinstance(name, str) and not path.exists() else None
    if found is None or path.suffix == ".safetensors":
        if revision is not None:
            raise ArbstyleError(f"only models on the Hub, owner/name, have a revision; {path} is a path")
        return path / MODEL if path.is_dir() else path
    repository, revision = found["repository"], revision or found["revision"]
    api = _api(token)
    with _plain_errors(repository, revision):
        download = functools.partial(
            api.hf_hub_download,
            repository,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=not _is_reachable(api, repository),
        )
        _check_config(Path(download(CONFIG)), repository)  # hundreds of bytes, before what may be gigabytes
        return Path(download(MODEL))


def save_folder(
    styler: ArbitraryStyler,
    information: Mapping[str, Any],
    folder: str | Path,
    *,
    license: str | None = None,
    datasets: Sequence[str] = (),
) -> Path:
    """Write a model as the Hub keeps it; a card that is there already stays.

    Args:
        styler, information: the networks and what their file says of itself.
        folder: made if need be.
        license: of the weights, by the Hub's identifiers, such as ``mit``.
        datasets: it was trained on, by their names on the Hub.

    Returns:
        the folder.
    """
    folder = Path(folder)
    save_styler(styler, folder / MODEL, information)
    config = {
        "library_name": LIBRARY,
        "library_version": arbstyle.__version__,
        **describe_styler(styler),
        "information": dict(information),
    }
    texts = {CONFIG: json.dumps(config, indent=2, sort_keys=True) + "\n"}
    if not (folder / CARD).exists():
        texts[CARD] = model_card(information, license, datasets)
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder


def push(
    styler: ArbitraryStyler,
    information: Mapping[str, Any],
    repository: str,
    *,
    license: str | None = None,
    datasets: Sequence[str] = (),
    private: bool | None = None,
    branch: str | None = None,
    message: str = "Upload a model of arbstyle",
    token: str | None = None,
) -> str:
    """Upload what :func:`save_folder` writes, in one commit; a card that is there already stays.

    Args:
        repository: ``owner/name``, made if need be.
        private: of a new repository; default: what its owner has set.
        branch: that exists; default: ``main``.
        message: of the commit.
        token: with the right to write; default: that of ``hf auth login``.

    Returns:
        the commit's address.

    Raises:
        ArbstyleError: not a name, no network, or no right to write there.
    """
    if not _NAME.fullmatch(repository) or "@" in repository:
        raise ArbstyleError(f"expected a repository owner/name, got '{repository}'")
    api = _api(token)
    with tempfile.TemporaryDirectory() as temporary, _plain_errors(repository, branch):
        folder = save_folder(styler, information, temporary, license=license, datasets=datasets)
        api.create_repo(repository, private=private, exist_ok=True)
        if api.file_exists(repository, CARD, revision=branch):
            (folder / CARD).unlink()
        return str(
            api.upload_folder(
                repo_id=repository, folder_path=folder, revision=branch, commit_message=message
            ).commit_url
        )


def model_card(information: Mapping[str, Any], license: str | None, datasets: Sequence[str]) -> str:
    """A model card in Markdown, with the front matter by which the Hub files it."""
    front = {
        "library_name": LIBRARY,
        "pipeline_tag": "image-to-image",
        "tags": ["style-transfer", "neural-style-transfer"],
        "license": license,
        "datasets": list(datasets),
    }
    # JSON is YAML, and quotes whatever needs it.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items() if value]
    facts = {
        "steps of training": information.get("steps"),
        "photographs": _source(information, "content"),
        "styles": _source(information, "style"),
        "made with": f"arbstyle {arbstyle.__version__}",
    }
    table = [f"| {key} | {_cell(value)} |" for key, value in facts.items() if value]
    return _CARD.format(
        front="\n".join(lines), name=_cell(information.get("name", "unnamed model")), table="\n".join(table)
    )


_CARD = """\
---
{front}
---

# {name}

Paints any photograph in the style of any picture, in one forward pass, with `arbstyle`:

```python
from arbstyle import Stylizer

stylizer = Stylizer.from_pretrained("owner/name")  # this repository
stylizer("photo.jpg", "painting.jpg").save("painted.png")
```

| | |
|---|---|
{table}

`config.json` holds the architecture and the recipe.
"""


def _source(information: Mapping[str, Any], kind: str) -> Any:
    data = information.get("data")
    about = data.get(kind) if isinstance(data, Mapping) else None
    return about.get("source") if isinstance(about, Mapping) else None


def _cell(value: object) -> str:
    return one_line(str(value)).replace("|", "\\|")


def _api(token: str | bool | None) -> HfApi:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ArbstyleError("models on the Hub need huggingface_hub: pip install 'arbstyle[hub]'") from error
    return HfApi(
        os.environ.get("HF_ENDPOINT"),
        token=token,
        library_name=LIBRARY,
        library_version=arbstyle.__version__,
    )


def _is_reachable(api: HfApi, repository: str) -> bool:
    """One question without the half minute of attempts that a download makes."""
    from huggingface_hub import errors

    try:
        api.get_hf_file_metadata(url=f"{api.endpoint}/{repository}/resolve/main/{CONFIG}")
    except errors.HfHubHTTPError:  # an answer, which the download gets again
        return True
    except errors.OfflineModeIsEnabled:
        return False
    except Exception as error:
        if not _is_connection_error(error):
            raise
        return False
    return True


def _is_connection_error(error: Exception) -> bool:
    """Of whichever HTTP client this version of huggingface_hub uses."""
    return type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3"))


def _check_config(path: Path, repository: str) -> None:
    try:
        library = json.loads(path.read_text(encoding="utf-8"))["library_name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        library = None
    if library != LIBRARY:
        kind = f"of {library}" if isinstance(library, str) else "of another library"
        raise ArbstyleError(f"{repository} is a model {kind[:60]}; give one that push_to_hub uploaded")


@contextmanager
def _plain_errors(repository: str, revision: str | None) -> Iterator[None]:
    """Errors of huggingface_hub in a line each."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise ArbstyleError(
            f"{repository} is open to people its owner let in: ask there, then 'hf auth login'"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ArbstyleError(
            f"there is neither a file or folder '{repository}' here nor a model of that name on the Hub; "
            "for a private one: 'hf auth login'"
        ) from error
    except errors.LocalTokenNotFoundError as error:
        raise ArbstyleError("nobody is logged in to the Hub: 'hf auth login', or give a token") from error
    except errors.RevisionNotFoundError as error:
        raise ArbstyleError(f"{repository} has no revision '{revision or 'main'}'") from error
    except errors.LocalEntryNotFoundError as error:
        raise ArbstyleError(
            f"cannot reach the Hub, and no copy of {repository} is in the cache; connect once, or give a file"
        ) from error
    except errors.EntryNotFoundError as error:
        raise ArbstyleError(f"{repository} holds no {MODEL} and {CONFIG} of arbstyle") from error
    except errors.OfflineModeIsEnabled as error:
        raise ArbstyleError(f"cannot reach {repository} on the Hub: HF_HUB_OFFLINE is set") from error
    except errors.HFValidationError as error:
        raise ArbstyleError(f"'{repository}' is not a name that the Hub allows") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no"
        remedy = "check 'hf auth whoami'" if status in (401, 403) else "try again later"
        raise ArbstyleError(f"the Hub refused {repository} (status {status}); {remedy}") from error
    except Exception as error:
        if not _is_connection_error(error):
            raise
        raise ArbstyleError(f"cannot reach the Hub for {repository} ({type(error).__name__})") from error
