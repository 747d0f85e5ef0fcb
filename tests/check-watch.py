#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""usage: check-watch.py FTCTL
What is shown on a terminal of our own. The live screen: it draws, follows a change of size, and however it ends the terminal is as it was. A socket of our own plays ftd."""
import fcntl, json, os, pty, select, signal, socket, struct, sys, tempfile, termios, threading, time

ftctl = os.path.abspath(sys.argv[1])
ENTER, LEAVE = b"\033[?1049h", b"\033[?1049l"
directory = tempfile.mkdtemp()
path = os.path.join(directory, "ftd.sock")
asked = 0
STATUS = {"parameters": {"host": "testhost", "version": "0", "domains": [
    {"domain": "vm1", "uuid": "u", "generation": 1, "role": "primary", "peer": "b", "state": "protected", "mode": "colo", "epoch": 7, "epochs": 6, "bytes_sent": 5}]}}


def answer(connection):
    global asked
    data = b""
    while (part := connection.recv(4096)):
        data += part
        while b"\0" in data:
            call, data = data.split(b"\0", 1)
            if b"Enable" in call:
                connection.sendall(b'{"parameters": {"phase": "check"}, "continues": true}\0')
                connection.sendall(b'{"error": "org.ftd.PeerUnreachable", "parameters": {"message": "nobody there"}}\0')
                continue
            asked += 1
            STATUS["parameters"]["domains"][0]["bytes_sent"] += 2000000
            connection.sendall(json.dumps(STATUS).encode() + b"\0")


def serve(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(8)
threading.Thread(target=serve, args=(listener,), daemon=True).start()


class Screen:
    def __init__(self, rows=24, columns=80, socket_path=path, command=None):
        self.output = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            command = command or [ftctl, "--socket", socket_path, "status", "--watch"]
            os.execvp(command[0], command)
        self.size(rows, columns)
        self.before = termios.tcgetattr(self.fd)

    def size(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, words, seconds=10):
        end = time.monotonic() + seconds
        while words not in self.output:
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            try:
                part = os.read(self.fd, 65536) if ready else b""
            except OSError:
                part = b""
            assert part, "no %r in %r" % (words, self.output)
            self.output += part

    def ended(self):
        self.read_until(LEAVE)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return status


def has_echo(attributes):
    return bool(attributes[3] & termios.ECHO) and bool(attributes[3] & termios.ICANON)


def check(text, ok):
    print("ok" if ok else "not ok", text)
    if not ok:
        sys.exit(1)


s = Screen(command=[ftctl, "--socket", path, "enable", "--peer", "b", "--", "-vm"])
s.read_until(b"nobody there\r\n")
check("what is wrong with a long verb has its own line, and a name may begin with a dash", b"\r\033[Kftctl: enable -vm: nobody there" in s.output)
os.waitpid(s.pid, 0)
os.close(s.fd)

s = Screen()
s.read_until(b"LINK/s")
s.read_until(b"q: end")
check("it draws on the alternate screen", s.output.startswith(ENTER) and b"ftd on testhost" in s.output and b"vm1" in s.output)
s.output = b""
s.read_until(b"q: end")
check("and again, with rates", b"2.0M" in s.output or b"1.9M" in s.output or b"M\033[K" in s.output)
check("keys are not shown", not has_echo(termios.tcgetattr(s.fd)))
s.output = b""
before = asked
s.size(24, 100)
os.kill(s.pid, signal.SIGWINCH)
s.read_until(b"DOMAIN" + b" " * 27 + b"STATE")
check("a change of size draws it anew", True)
os.write(s.fd, b"xq")
status = s.ended()
check("q ends it with status 0", os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0)

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    s = Screen()
    s.read_until(b"q: end")
    held = os.dup(s.fd)
    os.kill(s.pid, number)
    status = s.ended()
    check("%s ends it as it ends any program, the screen left" % number.name, os.WIFSIGNALED(status) and os.WTERMSIG(status) == number)
    check("and keys are shown again", has_echo(termios.tcgetattr(held)))
    os.close(held)

# A shell with job control in between: the kernel does not stop the processes of a session that nobody could continue.
s = Screen(command=["bash", "-mc", '"$0" --socket "$1" status --watch; echo stopped, "$(stty -a | grep -ow -- "-*echo")"; fg >/dev/null; exit', ftctl, path])
s.read_until(b"q: end")
with open("/proc/%d/task/%d/children" % (s.pid, s.pid)) as children:
    os.kill(int(children.read().split()[0]), signal.SIGTSTP)
s.read_until(b"stopped, echo")
check("it can be stopped, and leaves the screen and the keys meanwhile", s.output.index(LEAVE) < s.output.index(b"stopped, echo"))
s.output = s.output.split(b"stopped, echo", 1)[1]
s.read_until(ENTER)
s.read_until(b"q: end")
os.write(s.fd, b"q")
check("and go on", os.WEXITSTATUS(s.ended()) == 0)

s = Screen(socket_path=os.path.join(directory, "nobody"))
s.read_until(b"q: end")
check("without ftd it says so, and goes on", b"nobody" in s.output or b"ftd" in s.output.split(b"?", 1)[-1])
os.kill(s.pid, signal.SIGTERM)
s.ended()
os.unlink(path)
os.rmdir(directory)
