"""Disks that are small, full or read-only, for real where one can be mounted."""

import errno
import os
import shutil
import subprocess


class SmallDisk:
    """Two megabytes: a tmpfs where one can be mounted, else a pretended one of the same size."""

    def __init__(self, root, monkeypatch):
        self.root, self.filler, self.monkeypatch = root, root / "filler", monkeypatch
        root.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(root)]
        self.real = bool(shutil.which("mount")) and subprocess.run(mount, capture_output=True).returncode == 0

    def fill(self, leaving):
        """Let another program take all but so many bytes, a whole number of pages."""
        if self.real:
            self.filler.write_bytes(bytes(shutil.disk_usage(self.root).free - leaving))
            assert shutil.disk_usage(self.root).free == leaving
            return
        true_usage, true_sync, written = shutil.disk_usage, os.fsync, []

        def sync(descriptor):
            written.append(os.fstat(descriptor).st_size)
            if sum(written) > leaving:
                raise OSError(errno.ENOSPC, "No space left on device")
            true_sync(descriptor)

        self.monkeypatch.setattr(shutil, "disk_usage", lambda path: true_usage(path)._replace(free=leaving))
        self.monkeypatch.setattr(os, "fsync", sync)

    def make_room(self):
        if self.real:
            self.filler.unlink()
        else:
            self.monkeypatch.undo()

    def remove(self):
        if self.real:
            subprocess.run(["umount", str(self.root)], check=True)

    def limit_files(self, number):
        """Whether the disk could be made to take no more than so many files and folders."""
        remount = ["mount", "-o", f"remount,nr_inodes={number}", str(self.root)]
        return self.real and subprocess.run(remount, capture_output=True).returncode == 0

    def read_only(self):
        """Whether the disk could be made read-only."""
        remount = ["mount", "-o", "remount,ro", str(self.root)]
        return self.real and subprocess.run(remount, capture_output=True).returncode == 0
