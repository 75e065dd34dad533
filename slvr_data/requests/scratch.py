"""Where the local request store lies: a folder of this user's on a local disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from slvr_data.errors import UsageError
from slvr_data.files import disk_errors

_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fhgfs", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs",
    "fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "nfs4", "ocfs2", "orangefs", "panfs", "smb3", "smbfs", "wekafs",
}  # fmt: skip


def scratch_folder(folder: Path, scratch: Path | None) -> Path:
    """The folder below `scratch` (None: the system's temporary folder) that belongs to the store at `folder`; made."""
    root = scratch if scratch is not None else Path(tempfile.gettempdir()) / f"slvr-{os.getuid()}"
    found = root / f"requests-{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]}"
    with disk_errors(f"making {found}"):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = root.lstat().st_uid
        if scratch is None and owner != os.getuid():
            raise UsageError(f"{root} belongs to another user ({owner}): name a folder of your own as scratch")
        found.mkdir(mode=0o700, exist_ok=True)
    return found


def network_file_system(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """The type of the file system that holds `path`, where it is one of a network; None where not, or not known."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return None
    best, kind = -1, ""
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if path.resolve().is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind if kind in _NETWORK else None
