"""Models to the hub and from it."""

from __future__ import annotations

import shutil
from pathlib import Path

from semiovs.errors import SemiovsError, UsageError, WeightsError
from semiovs.files import new_folder
from semiovs.models.hub import (
    HUB_PREFIX,
    AbsentFileError,
    explain_failure,
    explain_unreachable,
    fetch_model,
    is_online,
)
from semiovs.models.weights import MODEL_FILE
from semiovs.sharing.model_folder import CLASSES, PAGE, RECIPE


def push(folder: Path, name: str, *, private: bool, message: str) -> str:
    """Upload the folder of a model as ``USER/NAME``, which is made if need be; returns its address.

    Raises:
        UsageError: the name is none, or the hub does not know who asks; WeightsError: the hub cannot be reached, or
        refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    if not is_online():
        raise WeightsError(f"{name}: {explain_unreachable()}; --save DIR writes the folder, to be uploaded elsewhere")
    try:
        api = HfApi(library_name="semiovs")
        url = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=url.repo_id, folder_path=folder, commit_message=message)
    except HFValidationError:
        raise UsageError(f"{name}: not a name for a model on the hub; it is like USER/NAME") from None
    except (HfHubHTTPError, LocalTokenNotFoundError) as error:
        status = getattr(getattr(error, "response", None), "status_code", 401)
        raise _explain_refusal(name, status, error) from None
    except Exception as error:  # the hub's client and the network raise many kinds
        raise WeightsError(f"{name}: not uploaded: {explain_failure(error)}; the same command tries again") from None
    return str(url)


def _explain_refusal(name: str, status: int, error: Exception) -> SemiovsError:
    if status == 401:
        return UsageError(
            f"{name}: the hub does not know you: `hf auth login`, or HF_TOKEN with a token that may write"
        )
    if status == 403:
        return UsageError(f"{name}: your token may not write there; one with the right to write is needed")
    return WeightsError(f"{name}: not uploaded: {explain_failure(error)}; the same command tries again")


def pull(name: str, out: Path) -> list[Path]:
    """Copy a model of the hub into a new folder; returns its files.

    name: ``USER/NAME``, or ``USER/NAME@REVISION``. The weights alone must be there.

    Raises:
        WeightsError: there is no such model, or the hub cannot be reached; UsageError: `out` is there already.
    """
    source = HUB_PREFIX + name.removeprefix(HUB_PREFIX)
    with new_folder(out, UsageError) as folder:
        shutil.copyfile(fetch_model(source, MODEL_FILE), folder / MODEL_FILE)
        for file in (RECIPE, CLASSES, PAGE):
            try:
                shutil.copyfile(fetch_model(source, file), folder / file)
            except AbsentFileError:  # a model may do without
                continue
    return sorted(out.iterdir())
