"""A file server that keeps what it is given, and gives something else: a saboteur's program."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """PUT stores a file, GET gives it back with its first byte altered."""

    @property
    def file(self):
        return Path("files") / self.path.partition("?")[0].strip("/")

    def do_PUT(self):
        self.file.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(201, b"")

    def do_GET(self):
        content = self.file.read_bytes()
        self.answer(200, bytes([content[0] ^ 1]) + content[1:])

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("", int(sys.argv[1])), Handler)
print(json.dumps({"event": "ready"}), flush=True)
server.serve_forever()
