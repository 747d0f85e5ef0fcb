#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""usage: serve.py DIRECTORY PORT-FILE: DIRECTORY over HTTP on loopback, with the content security policy that Cockpit gives its pages."""
import functools, http.server, os, sys


class Handler(http.server.SimpleHTTPRequestHandler):
    def end_headers(self):
        self.send_header("Content-Security-Policy", "connect-src 'self'; form-action 'self'; base-uri 'self'; object-src 'none'; font-src 'self' data:; "
                         "img-src 'self' data:; block-all-mixed-content; default-src 'self'")
        super().end_headers()

    def log_message(self, *words):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=sys.argv[1]))
with open(sys.argv[2] + ".new", "w") as f:
    f.write(str(server.server_port))
os.rename(sys.argv[2] + ".new", sys.argv[2])
server.serve_forever()
