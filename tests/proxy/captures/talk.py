# SPDX-License-Identifier: LGPL-2.1-or-later
"""The conversations of the captures (see `make`): `talk.py guest CONGESTION` and `talk.py client`, each in its namespace. All contents follow from the names."""
import random
import socket
import struct
import sys
import threading
import time

GUEST4, GUEST6, CLIENT4 = "10.98.0.16", "fd98::10", "10.98.0.1"
UDP_SEGMENT = 103


def content(name, n):
    return random.Random(name).randbytes(n)


def read(s, n):
    got = b""
    while len(got) < n:
        part = s.recv(min(n - len(got), 65536))
        if not part:
            break
        got += part
    return got


# -- TCP that the client opens: (address, port) -> what the guest does with the connection ------------------------------------------------

def page(s, n):
    read(s, 100)
    s.sendall(content("page", n))


def chatter(s):
    for i in range(20):
        read(s, 10 + i)
        s.sendall(content("answer %d" % i, 5 + 37 * i))


def half_closed(s):
    got = read(s, 1 << 20)
    s.sendall(content("after the end %d" % len(got), 2000))


def urgent(s):
    read(s, 1)
    s.sendall(b"before ")
    s.send(b"!", socket.MSG_OOB)
    s.sendall(b" behind")


def reset(s):
    read(s, 1)
    s.sendall(b"gone")
    time.sleep(0.2)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


SERVERS = [
    (GUEST4, 80, lambda s: page(s, 24000)),
    (GUEST6, 80, lambda s: page(s, 24000)),
    (GUEST4, 81, lambda s: page(s, 12000)),     # read slowly: zero window, probes
    (GUEST4, 22, chatter),
    (GUEST6, 22, chatter),
    (GUEST4, 83, half_closed),
    (GUEST4, 84, urgent),
    (GUEST4, 85, reset),
]


def serve(listener, action):
    s, _ = listener.accept()
    action(s)
    s.close()
    listener.close()


def tcp_socket(address):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.argv[1] == "guest":
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, sys.argv[2].encode())
    return s


def dial(address, port, local, receive_buffer=0):
    s = tcp_socket(address)
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.bind(("", local))
    s.connect((address, port))
    s.settimeout(10)
    return s


def get(address, port, local, n, pause=0.0):
    s = dial(address, port, local, 2304 if pause else 0)
    s.sendall(b"G" * 100)
    time.sleep(pause)
    assert read(s, n + 1) == content("page", n), "page"
    s.close()


def talk_chatter(address, local):
    s = dial(address, 22, local)
    for i in range(20):
        s.sendall(b"q" * (10 + i))
        assert read(s, 5 + 37 * i) == content("answer %d" % i, 5 + 37 * i), "chatter"
    s.close()


def talk_half_closed():
    s = dial(GUEST4, 83, 40007)
    s.sendall(content("upload", 5000))
    s.shutdown(socket.SHUT_WR)
    assert len(read(s, 2001)) == 2000, "half-closed"
    s.close()


def talk_urgent():
    s = dial(GUEST4, 84, 40008)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    s.sendall(b"u")
    assert read(s, 100) == b"before ! behind", "urgent"
    s.close()


def talk_reset():
    s = dial(GUEST4, 85, 40009)
    s.sendall(b"rest")
    try:
        assert read(s, 100) != b"", "reset"
        raise AssertionError("no reset")
    except ConnectionResetError:
        pass
    s.close()


# -- UDP ----------------------------------------------------------------------------------------------------------------------------------

def udp_socket(address, port):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, port))
    s.settimeout(10)
    return s


ECHOES = [(GUEST4, 7, 10), (GUEST6, 7, 10), (GUEST4, 8, 2), (GUEST6, 8, 2)]


def echo(s, n):
    for _ in range(n):
        data, peer = s.recvfrom(65536)
        s.sendto(data, peer)


def segments(s):
    """Ten datagrams in one call: one frame where the card cuts it, ten where the kernel does."""
    _, peer = s.recvfrom(100)
    s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 500)
    s.sendto(content("segments", 5000), peer)


def talk_udp(address, port, n):
    s = udp_socket("::" if ":" in address else "0.0.0.0", 41000 + port)
    for i in range(n):
        data = content("datagram %d" % i, 4000 if port == 8 else 20 + i)
        s.sendto(data, (address, port))
        assert s.recv(65536) == data, "echo"
    s.close()


def talk_segments():
    s = udp_socket("0.0.0.0", 41009)
    s.sendto(b"s", (GUEST4, 9))
    got = b"".join(s.recv(65536) for _ in range(10))
    assert got == content("segments", 5000), "segments"


# -- both sides ---------------------------------------------------------------------------------------------------------------------------

def guest():
    threads = []
    for address, port, action in SERVERS:
        s = tcp_socket(address)
        s.bind((address, port))
        s.listen()
        threads.append(threading.Thread(target=serve, args=(s, action)))
    for address, port, n in ECHOES:
        threads.append(threading.Thread(target=echo, args=(udp_socket(address, port), n)))
    threads.append(threading.Thread(target=segments, args=(udp_socket(GUEST4, 9),)))
    cue = udp_socket(GUEST4, 10)
    for t in threads:
        t.start()
    print("ready", flush=True)
    for t in threads:
        t.join()
    cue.settimeout(60)
    cue.recv(1)
    s = dial(CLIENT4, 8080, 50001)
    s.sendall(b"G" * 100)
    assert read(s, 20001) == content("download", 20000), "download"
    s.close()


def client():
    get(GUEST4, 80, 40001, 24000)
    get(GUEST6, 80, 40002, 24000)
    get(GUEST4, 81, 40003, 12000, pause=1.5)
    talk_chatter(GUEST4, 40005)
    talk_chatter(GUEST6, 40006)
    talk_half_closed()
    talk_urgent()
    talk_reset()
    for address, port, n in ECHOES:
        talk_udp(address, port, n)
    talk_segments()
    listener = tcp_socket(CLIENT4)
    listener.bind((CLIENT4, 8080))
    listener.listen()
    udp_socket("0.0.0.0", 41010).sendto(b"c", (GUEST4, 10))
    s, _ = listener.accept()
    read(s, 100)
    s.sendall(content("download", 20000))
    s.close()


{"guest": guest, "client": client}[sys.argv[1]]()
