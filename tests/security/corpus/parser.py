"""Lying to the side that reads the result."""

from corpus.case import MALFORMED, TIMEOUT, Case

END = "\nos._exit(0)"
SCORES = 'header()\nframe(b"S", b"\\x01" * FACTS["rows"])\nframe(b"E")' + END
RULE = ("rule-invalid", "rule-too-long", "rule-empty", "rule-not-a-choice", "rule-unknown-name", "rule-type")


def ruled(name: str, rule: str, ends: tuple[str, ...] = RULE, **more) -> Case:
    """Scores of ones, and a selection rule that is evaluated outside."""
    return Case(name, SCORES.replace("header()", f"header(rule={rule})"), ends, **more)


def malformed(name: str, body: str, **more) -> Case:
    return Case(name, body + "\ntime.sleep(9)", MALFORMED, **more)


CASES = (
    malformed("garbage", 'os.write(RESULT, b"nonsense" * 99)'),
    malformed("unknown-kind", 'frame(b"X")'),
    malformed("endless-length", 'frame(b"S", b"", 0xFFFFFFFF)'),
    malformed("endless-header", 'frame(b"H", b"", 0xFFFFFFFF)'),
    malformed("second-beginning", 'frame(b"B")'),
    malformed("scores-before-the-header", 'frame(b"S", bytes(24))'),
    malformed("objects", 'header(dtype="object")'),
    malformed("odd-type", 'header(dtype="float64; rm")'),
    malformed("extra-fields", "header(more=1)"),
    malformed("nested", 'frame(b"H", b"[" * 60000)'),
    malformed("no-json", 'frame(b"H", b"\\xff" * 100)'),
    malformed("header-too-long", 'frame(b"H", b" " * 65537)'),
    malformed("two-headers", "header()\nheader()"),
    malformed("too-many-scores", 'header()\nwhile True: frame(b"S", bytes(20))'),
    malformed("one-score-too-many", 'header()\nframe(b"S", bytes(FACTS["rows"] + 1))', quick=True),
    malformed("end-without-scores", 'header()\nframe(b"E")'),
    malformed("half-a-score", 'header(dtype="float64")\nframe(b"S", bytes(FACTS["rows"] * 8 - 1))\nframe(b"E")'),
    malformed("after-the-end", SCORES.replace(END, '\nframe(b"E")')),
    malformed("neither-true-nor-false", 'header()\nframe(b"S", b"\\x02" * FACTS["rows"])\nframe(b"E")'),
    malformed("pickle", 'import pickle\nframe(b"H", pickle.dumps(os.system))'),
    malformed("failure-of-no-form", 'frame(b"F", b"{}")'),
    malformed("failure-with-odd-code", 'frame(b"F", b\'{"problems": [{"code": "a b<script>", "message": "m"}]}\')'),
    malformed(
        "too-many-failures", 'frame(b"F", json.dumps({"problems": [{"code": "a", "message": "m"}] * 101}).encode())'
    ),
    malformed("failure-too-long", 'frame(b"F", b" " * 65537)'),
    malformed(
        "children-between-frames",
        "for _ in range(4):\n    if os.fork() == 0:\n        while True: os.write(RESULT, b'S')",
    ),
    Case("dies-inside-a-frame", 'os.write(RESULT, b"H\\xff")' + END, ("filter-ended",)),
    Case("drips", 'header()\nwhile True:\n    frame(b"S", b"")\n    time.sleep(0.01)', TIMEOUT, seconds=3),
    Case(
        "claims-a-failure",
        'frame(b"F", b\'{"problems": [{"code": "my-code", "message": "\\\\u001b[2J\\\\u0000"}]}\')' + END,
        ("my-code",),
    ),
    Case(
        "claims-that-the-pool-is-damaged",
        'frame(b"F", b\'{"problems": [{"code": "pool-changed", "message": "m"}]}\')' + END,
        ("pool-changed",),
    ),
    Case("forges-scores", SCORES, harmless=True),
    Case(
        "no-numbers",
        'header(dtype="float64", rule="score > 0")\nframe(b"S", b"\\xff" * 8 * FACTS["rows"])\nframe(b"E")' + END,
        ("filter-kept-nothing",),
    ),
    ruled("rule-is-code", "\"__import__('os').system('touch /tmp/' + MARK)\""),
    ruled("rule-without-end", '"(" * 9999'),
    ruled("rule-of-nots", '"not " * 2400 + "score"'),
    ruled("rule-of-minuses", '"-" * 9990 + "score"'),
    ruled("rule-too-long", '"score" + " " * 11000 + " > 0"', ("filter-result-malformed",)),
    ruled("rule-with-a-zero", "\"score in (0, 1) and lang != 'a\\x00'\""),
    ruled("rule-with-terminal-codes", "\"score != '\\x1b[2J'\""),
    ruled("rule-with-surrogates", '"\\ud800"', MALFORMED),
    ruled("rule-of-nothing", '""'),
    ruled("rule-of-a-number", '"1"'),
)
