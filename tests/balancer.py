"""A real nginx before several servers, set up as the documentation does it for one."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import nginx
from nginx import EXAMPLES, replaced

AGAIN = (
    "max_fails=0"  # a refused connection costs nothing; marked as failed, two servers leave none
)


@dataclass
class Balancer:
    """A round robin that was started here and is stopped here."""

    port: int
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path, port: int, backends: list[int]) -> Balancer:
        """Takes connections on the port; the backends need not be there yet."""
        servers = "".join(f"\n    server 127.0.0.1:{backend} {AGAIN};" for backend in backends)
        text = replaced(
            (EXAMPLES / "nginx.conf").read_text(),
            {
                "\n    server 127.0.0.1:8080;": servers,
                "listen 443 ssl;": f"listen 127.0.0.1:{port};",
            },
        )
        text = "\n".join(line for line in text.splitlines() if "ssl_" not in line)
        return cls(port, nginx.start(folder, text, port))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
