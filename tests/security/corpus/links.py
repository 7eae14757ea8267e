"""Links, FIFOs and other things that are no files, left where results are expected."""

from corpus.case import MALFORMED, TIMEOUT, Case, off
from datacomp_worker.sandbox.layers import Layer

WRITES = (off(Layer.READ_ONLY),)
HOST = (off(Layer.PRIVATE_ROOT),)

CASES = (
    Case("link-to-a-host-file", 'os.symlink(FACTS["open"], "/tmp/out")\ntries(write, "/tmp/out")'),
    Case("link-left-behind", 'os.symlink(FACTS["open"], "/tmp/subset.npy")', harmless=True),
    Case("link-in-the-pool", 'tries(os.symlink, FACTS["open"], "/pool/metadata/" + MARK)', proves=WRITES),
    Case("link-beside-itself", 'tries(os.symlink, "/etc/passwd", "/submission/" + MARK)'),
    Case("hard-link-to-the-pool", 'tries(os.link, "/pool/pack/columns/words.npy", "/tmp/words.npy")'),
    Case("fifo-in-the-pool", 'tries(os.mkfifo, "/pool/metadata/" + MARK)', proves=WRITES, quick=True),
    Case("fifo-that-nobody-writes", 'os.mkfifo("/tmp/fifo")\nopen("/tmp/fifo")', TIMEOUT, seconds=3),
    Case("fifo-left-behind", 'os.mkfifo("/tmp/subset.npy")\nos.mkfifo("/dev/shm/subset.npy")', harmless=True),
    Case(
        "socket-in-the-pool",
        'tries(lambda: socket.socket(socket.AF_UNIX).bind("/pool/metadata/" + MARK))',
        proves=WRITES,
    ),
    Case("device", 'tries(os.mknod, "/tmp/disk", 0o60600, os.makedev(8, 0))'),
    Case("device-in-the-pool", 'tries(os.mknod, "/pool/metadata/" + MARK, 0o20600, os.makedev(1, 1))'),
    Case(
        "file-as-the-result",
        'os.dup2(os.open("/tmp/result", os.O_CREAT | os.O_RDWR), RESULT)',
        ("filter-ended",),
    ),
    Case("fifo-as-the-result", 'os.mkfifo("/tmp/f")\nos.dup2(os.open("/tmp/f", os.O_RDWR), RESULT)', ("filter-ended",)),
    Case(
        "result-by-its-link",
        'os.write(os.open(f"/proc/self/fd/{RESULT}", os.O_WRONLY), b"nonsense" * 9)\ntime.sleep(5)',
        (*MALFORMED, "filter-raised"),
    ),
    Case("plants-a-subset", 'for p in ("/tmp/subset.npy", "subset.npy"): write(p, "planted")', harmless=True),
    Case(
        "replaces-itself", 'write("/tmp/x")\ntries(os.rename, "/tmp/x", "/submission/" + os.listdir("/submission")[0])'
    ),
    Case("replaces-tmp", 'tries(os.rmdir, "/tmp")'),
    Case("loop", 'os.symlink("/tmp/b", "/tmp/a")\nos.symlink("/tmp/a", "/tmp/b")\ntries(open, "/tmp/a")'),
    Case("root-by-its-link", 'tries(lambda: open("/proc/self/root/etc/passwd").read())', proves=HOST),
    Case("folder-by-its-link", 'tries(lambda: open("/proc/self/cwd/../etc/passwd").read())', proves=HOST),
    Case("namespace-by-its-link", 'fd = os.open("/proc/1/ns/mnt", os.O_RDONLY)\ntries(call, "setns", fd, 0)'),
)
