"""Reaching anything beyond the sandbox by sockets."""

from corpus.case import Case, off
from datacomp_worker.sandbox.layers import Layer

BOTH = off(Layer.NETWORK, Layer.SECCOMP)
SECCOMP = off(Layer.SECCOMP)
NETWORK = off(Layer.NETWORK)

CASES = (
    Case("tcp", 'tries(socket.create_connection, ("127.0.0.1", FACTS["port"]), 2)', proves=(BOTH,)),
    Case("tcp-out", 'tries(socket.create_connection, ("192.0.2.1", 80), 2)'),
    Case("tcp6", 'tries(socket.create_connection, ("::1", FACTS["port"]), 2)'),
    Case("udp", 'tries(lambda: socket.socket(2, 2).sendto(b"x", ("127.0.0.1", 53)))', proves=(SECCOMP,)),
    Case("listen", 'tries(lambda: socket.create_server(("0.0.0.0", 0)))', proves=(SECCOMP,)),
    Case("raw", "tries(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)"),
    Case("packet", "tries(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)"),
    Case("netlink", "tries(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW)", proves=(SECCOMP,)),
    Case("vsock", "tries(socket.socket, 40, socket.SOCK_STREAM)"),
    Case("alg", 'tries(lambda: socket.socket(38, 5).bind(("hash", "sha256")))'),
    Case("bluetooth", "tries(socket.socket, 31, 3, 1)"),
    Case("xdp", "tries(socket.socket, 44, 3)"),
    Case("tipc", "tries(socket.socket, 30, 1)"),
    Case(
        "abstract-unix",
        'tries(lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + FACTS["abstract"]))',
        proves=(NETWORK,),
        quick=True,
    ),
    Case("unix-file", 'tries(lambda: socket.socket(socket.AF_UNIX).connect(FACTS["socket"]))'),
    Case("names", 'tries(socket.getaddrinfo, "example.org", 80)'),
    Case(
        "interfaces",
        'tries(lambda: [l.split(":")[0] for l in list(open("/proc/net/dev"))[2:] if l.split(":")[0].strip() != "lo"])',
        proves=(NETWORK,),
    ),
    Case("sockets-of-the-host", 'tries(lambda: FACTS["abstract"] in open("/proc/net/unix").read())', proves=(NETWORK,)),
    Case(
        "bash",
        'tries(lambda: subprocess.run(["bash", "-c", f"echo > /dev/tcp/127.0.0.1/{FACTS[\'port\']}"]).returncode == 0)',
        proves=(BOTH,),
    ),
    Case(
        "http", "import urllib.request\ntries(urllib.request.urlopen, f\"http://127.0.0.1:{FACTS['port']}\", None, 2)"
    ),
)
