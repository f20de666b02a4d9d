"""A Redis server of its own, on loopback, with the settings that the example configuration gives it and a password."""

from __future__ import annotations

import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from pipeline.settings import PROJECT_ROOT
from tests.support.processes import wait_until

_CONFIGURATION = PROJECT_ROOT / "deploy" / "distributed" / "redis.conf"
PASSWORD = "p@ss/w:rd-of-redis"


def missing() -> str | None:
    """The reason why no server can be started; None if one can."""
    return None if shutil.which("redis-server") else "Redis is not installed: apt-get install redis-server"


@dataclass
class Redis:
    """A server that keeps its data in the folder, so that it finds them again after `kill` and `start`."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        address = ("--bind", "127.0.0.1", "--port", str(self.port), "--requirepass", PASSWORD)
        command = ["redis-server", str(_CONFIGURATION), *address, "--dir", str(self.folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(self._answers, "Redis answers", 30)

    def kill(self) -> None:
        """Ends it without a chance to save anything."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
