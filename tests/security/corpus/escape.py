"""System calls, programs and instructions that have been ways out."""

from corpus.case import Case, off
from datacomp_worker.sandbox.layers import Layer

SECCOMP = (off(Layer.SECCOMP),)
NESTED = (off(Layer.NO_NESTING, Layer.SECCOMP),)
PROGRAM = "print(subprocess.run({0}).returncode)\ntries(lambda: subprocess.run({0}).returncode == 0)"
CALLS = {
    "mount": 'address(b"none"), address(b"/tmp"), address(b"tmpfs"), 0, 0',
    "umount2": 'address(b"/pool"), 2',
    "pivot_root": 'address(b"/tmp"), address(b"/tmp")',
    "chroot": 'address(b"/tmp")',
    "open_tree": '-100, address(b"/"), 1',
    "move_mount": '-100, address(b"/tmp"), -100, address(b"/tmp"), 0',
    "fsopen": 'address(b"tmpfs"), 0',
    "mount_setattr": "-100, address(b'/'), 0, 0, 0",
    "bpf": "0, address(bytes(128)), 128",
    "perf_event_open": "address(bytes(128)), 0, -1, -1, 0",
    "io_setup": "8, address(bytes(8))",
    "userfaultfd": "1",
    "keyctl": "0, -3, 0",
    "add_key": 'address(b"user"), address(b"x"), address(b"x"), 1, -3',
    "io_uring_setup": "8, address(bytes(256))",
    "name_to_handle_at": '-100, address(b"/"), address(bytes(256)), address(bytes(8)), 0',
    "open_by_handle_at": "-100, address(bytes(256)), 0",
    "process_vm_writev": "1, 0, 0, 0, 0, 0",
    "pidfd_open": "1, 0",
    "pidfd_send_signal": "0, 0, 0, 0",
    "kcmp": "1, 1, 0, 0, 0",
    "personality": "0x0040000",
    "syslog": "3, address(bytes(64)), 64",
    "init_module": "0, 0, address(b'')",
    "kexec_load": "0, 0, 0, 0",
    "swapon": 'address(b"/tmp/x"), 0',
    "reboot": "0xfee1dead, 672274793, 0x89abcdef",
    "acct": "0",
    "quotactl": "0, 0, 0, 0",
    "fanotify_init": "0, 0",
    "vmsplice": "1, 0, 0, 0",
    "mbind": "0, 0, 0, 0, 0, 0",
    "semget": "0, 1, 0o1600",
    "sethostname": 'address(b"mine"), 4',
}
WORK_WITHOUT = ("io_setup", "personality", "semget", "keyctl", "pidfd_open", "vmsplice")

CASES = (
    *(
        Case(f"call-{name}", f"tries(call, {name!r}, {words})", proves=SECCOMP if name in WORK_WITHOUT else ())
        for name, words in CALLS.items()
    ),
    Case(
        "traces",
        """
child = os.fork()
if child == 0:
    time.sleep(9)
    os._exit(0)
tries(call, "ptrace", 16, child, 0, 0)
os.kill(child, 9)""",
        proves=SECCOMP,
    ),
    Case("user-namespace", 'tries(lambda: in_child(call, "unshare", 0x10000000) == 0)', proves=NESTED),
    Case("mount-namespace", 'tries(lambda: in_child(call, "unshare", 0x20000) == 0)'),
    Case("clone-with-namespace", 'tries(call, "clone", 0x10000000 | 17, 0, 0, 0, 0)'),
    Case("clone3", 'tries(call, "clone3", 0, 0)'),
    Case("root", "tries(os.setuid, 0)"),
    Case("groups", "tries(os.setgroups, [0])"),
    Case(
        "capabilities",
        'tries(lambda: [l for l in open("/proc/self/status") if l[:4] == "CapE" and int(l.split()[1], 16)])',
        proves=(off(Layer.NO_CAPABILITIES, Layer.REAL_UID, Layer.NOBODY),),
    ),
    Case("new-privileges", 'tries(lambda: "NoNewPrivs:\\t1" not in open("/proc/self/status").read())'),
    Case("su", PROGRAM.format('["/bin/su", "-c", "id"]')),
    Case("unshare", PROGRAM.format('["unshare", "-Ur", "id"]'), proves=NESTED),
    Case("nsenter", PROGRAM.format('["nsenter", "-t", "1", "-m", "id"]')),
    Case("bubblewrap", PROGRAM.format('["bwrap", "--unshare-all", "--ro-bind", "/", "/", "id"]'), proves=NESTED),
    Case("other-calls-x32", "tries(lambda: in_child(call, 0x40000000 + 39) == 0)"),
    Case(
        "other-calls-i386",
        """
def i386():
    code = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 7)
    code.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
tries(lambda: in_child(i386) == 0)""",
        proves=SECCOMP,
        quick=True,
    ),
    Case("own-seccomp", "tries(lambda: libc.prctl(22, 0, 0, 0, 0) == 0)"),
    Case("own-memory", 'fd = os.open("/proc/self/mem", os.O_RDWR)\ntries(os.pread, fd, 16, 0)'),
    Case("raw-disk", 'tries(os.mknod, "/tmp/sda", 0o60600, 0x800)'),
    Case(
        "garbage-collector",
        'import gc\ntries(lambda: [o for o in gc.get_objects() if FACTS["secret"] in str(getattr(o, "__dict__", ""))])',
    ),
)
