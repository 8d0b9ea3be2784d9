"""The examples for SLURM and Kubernetes: every command in them is one that the program takes, and they fit together."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

from cli.documented import ROOT, Command, problem
from semiovs.errors import ConfigError, DataError, DivergedError, PreemptedError, WeightsError

SCRIPT = ROOT / "examples" / "slurm" / "train.sbatch"
JOB = ROOT / "examples" / "kubernetes" / "job.yaml"
MISTAKES = [error.exit_code for error in (ConfigError, DataError, WeightsError, DivergedError)]
#: Options of torchrun that the examples give.
LAUNCH = ["--standalone", "--nproc-per-node", "--max-restarts", "-m"]


@pytest.fixture(scope="module")
def job() -> dict:
    return yaml.safe_load(JOB.read_text("utf-8"))["spec"]


@pytest.fixture(scope="module")
def container(job) -> dict:
    (only,) = job["template"]["spec"]["containers"]
    return only


def split(words: list[str]) -> tuple[list[str], Command]:
    """Words of the launcher, and the command of its ranks."""
    at = words.index("semiovs")
    return words[:at], Command(tuple(words[at + 1 :]), "example")


def test_the_job_s_command_is_taken(container):
    assert container["command"] == ["python", "-m", "semiovs.torchrun"]
    launcher, command = split(container["args"])
    assert [word.partition("=")[0] for word in launcher] == LAUNCH
    assert problem(command) == ""
    assert "--resume" in command.words
    assert problem(Command((*command.words, "train.stepps=1"), "example")) != ""


def test_the_script_s_command_is_taken():
    text = SCRIPT.read_text("utf-8")
    given = re.search(r"^#   sbatch examples/slurm/train\.sbatch (.+)$", text, re.MULTILINE)
    call = re.search(r"^srun (.+) &$", text.replace("\\\n", " "), re.MULTILINE)
    assert given
    assert call
    launcher, command = split(shlex.split(call[1].replace('"$@"', given[1]).replace('"$ranks"', "2")))
    assert launcher[launcher.index("python") :][:3] == ["python", "-m", "semiovs.torchrun"]
    assert [word for word in launcher[launcher.index("semiovs.torchrun") + 1 :] if word.startswith("-")] == LAUNCH
    assert problem(command) == ""
    assert "--resume" in command.words


def test_the_job_ends_and_goes_on_by_the_documented_codes(job, container):
    rules = job["podFailurePolicy"]["rules"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # else a podFailurePolicy is refused
    by_code = {rule["action"]: rule["onExitCodes"] for rule in rules if "onExitCodes" in rule}
    assert by_code["Ignore"]["values"] == [PreemptedError.exit_code]
    assert by_code["FailJob"]["values"] == MISTAKES
    assert {each["containerName"] for each in by_code.values()} == {container["name"]}
    assert {"type": "DisruptionTarget"} in rules[0]["onPodConditions"]


def test_the_job_s_volumes_are_those_that_its_command_names(job, container):
    spec = job["template"]["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == set(volumes)
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    settings = dict(word.split("=", 1) for word in container["args"] if re.match(r"[a-z.]+=", word))
    for key in ("data.root", "run.dir"):
        (name,) = [mounts[path] for path in mounts if settings[key].startswith(f"{path}/")]
        assert "persistentVolumeClaim" in volumes[name]
    assert spec["terminationGracePeriodSeconds"] >= 60
    (ranks,) = [word.partition("=")[2] for word in container["args"] if word.startswith("--nproc-per-node=")]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == int(ranks)


def test_the_script_is_queued_again_after_the_code_of_a_stop_alone():
    text = SCRIPT.read_text("utf-8")
    assert re.findall(r'"\$code" -eq (\d+)', text) == [str(PreemptedError.exit_code)]
    assert re.search(r"^#SBATCH --signal=B:USR1@\d+", text, re.MULTILINE)
    assert re.search(r"^#SBATCH --requeue", text, re.MULTILINE)
