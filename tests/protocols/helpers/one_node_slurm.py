"""A Slurm cluster of one node, from the distribution's packages, with all its files in one folder.

It needs munged, slurmctld and slurmd (`apt-get install slurmd slurmctld slurm-client munge`) and the rights of root.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
SLOTS = 2
"""Jobs that run at a time."""
SETTINGS = """ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/socket/munge
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=batch_sched_delay=0,sched_interval=1
KillWait=2
MinJobAge=5
MailProg=/bin/true
JobRequeue=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={slots} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class NoSlurm(RuntimeError):
    """Slurm cannot be started here, and why."""


@contextmanager
def one_node_slurm(slots: int = SLOTS) -> Iterator[Path]:
    """Start the cluster, with SLURM_CONF set to it, and stop it; gives its folder.

    Raises
    ------
    NoSlurm
        A program is missing, this is not root, or the daemons do not come up.
    """
    if missing := [name for name in PROGRAMS if _program(name) is None]:
        raise NoSlurm(f"no {', '.join(missing)}: apt-get install slurmd slurmctld slurm-client munge")
    if os.geteuid() != 0:
        raise NoSlurm("only root can start slurmd and munged")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm_", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        for name, mode in {"state": 0o755, "spool": 0o755, "munge": 0o700, "socket": 0o755}.items():
            (folder / name).mkdir(mode=mode)
        _begin_munge(stack, folder)
        host = socket.gethostname().split(".")[0]
        settings = folder / "slurm.conf"
        settings.write_text(SETTINGS.format(host=host, folder=folder, ports=_ports(), slots=slots), encoding="utf-8")
        before = os.environ.get("SLURM_CONF")
        stack.callback(_restore, before)
        os.environ["SLURM_CONF"] = str(settings)
        _begin(stack, folder, "slurmctld", "-D")
        _begin(stack, folder, "slurmd", "-D")
        _wait(folder)
        yield folder


def _restore(before: str | None) -> None:
    if before is None:
        os.environ.pop("SLURM_CONF", None)
    else:
        os.environ["SLURM_CONF"] = before


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def _begin_munge(stack: ExitStack, folder: Path) -> None:
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    files = [f"--{name}-file={folder}/munge/{name}" for name in ("key", "pid", "log", "seed")]
    _begin(stack, folder, "munged", "--force", "--foreground", f"--socket={folder}/socket/munge", *files)
    for _ in range(100):
        if (folder / "socket" / "munge").exists():
            return
        time.sleep(0.05)
    raise NoSlurm(f"munged does not start: {_last(folder / 'munged.out')}")


def _begin(stack: ExitStack, folder: Path, name: str, *words: str) -> None:
    program = _program(name)
    assert program is not None
    out = stack.enter_context((folder / f"{name}.out").open("wb"))
    process = subprocess.Popen([program, *words], stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    stack.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(folder: Path) -> None:
    for _ in range(150):
        told = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False)
        if told.stdout.strip() in ("idle", "mixed", "allocated"):
            return
        time.sleep(0.1)
    raise NoSlurm(f"Slurm does not come up: {told.stdout}{told.stderr}{_last(folder / 'slurmctld.log')}")


def _last(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")[-500:]
    return ""


def _ports() -> list[int]:
    """Two free ports."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
