"""Fetching single images: everything a foreign server can do, against a real one on loopback."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from gallery import SVG, animation, bomb, deep_png, gallery, picture

from datacomp.problems import BadInput
from datacomp_worker.download.limits import Limits
from datacomp_worker.download.network import Network, Refusal
from datacomp_worker.download.pictures import prepare

LOOPBACK = Limits(seconds=1.0, connect_seconds=0.6, bytes=1 << 20, retries=0, allowed=("127.0.0.1/32",))


@pytest.fixture(scope="module")
def place():
    with gallery() as made:
        made.bodies |= {"good": picture(), "noai": picture(), "flaky": picture()}
        made.headers["noai"] = ("X-Robots-Tag", "noai")
        yield made


def refused(url: str, limits: Limits = LOOPBACK) -> str:
    with pytest.raises(Refusal) as caught:
        Network(limits).fetch(url)
    return caught.value.cause


def test_an_image_comes_whole_directly_and_by_redirect(place):
    network = Network(LOOPBACK)
    assert network.fetch(place.at("good")) == picture()
    assert network.fetch(place.at(f"to/{place.at('good')}")) == picture()
    assert network.fetch(place.at("to//good")) == picture()


@pytest.mark.parametrize(
    ("path", "cause"),
    [("none", "http-404"), ("silent", "timeout"), ("slow", "timeout"), ("reset", "reset"), ("huge", "too-large"),
     ("endless", "too-large"), ("cut", "truncated"), ("to/ftp://example.org/x", "redirect-invalid")],
)  # fmt: skip
def test_every_failure_has_its_cause_in_time(place, path, cause):
    began = time.monotonic()
    assert refused(place.at(path)) == cause
    assert time.monotonic() - began < 4


def test_redirects_end(place):
    place.bodies.pop("loop", None)
    url = place.at("good")
    for _ in range(8):
        url = place.at(f"to/{url}")
    assert refused(url) == "redirects"


@pytest.mark.parametrize(
    "url", ["", "file:///etc/passwd", "ftp://a/b", "http://", "http://[::1", "http://a b/\r\nX: y", "data:image/png,x"]
)
def test_addresses_that_are_none(url):
    assert refused(url) in {"url-invalid", "host-unknown"}


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
                                  "localhost", "2130706433", "[64:ff9b::7f00:1]"])  # fmt: skip
def test_private_addresses_are_not_connected_to(host):
    assert refused(f"http://{host}:9/x", replace(LOOPBACK, allowed=())) in {"address-private", "host-unknown"}


def test_a_redirect_into_a_private_network_is_not_followed(place):
    with socket.create_server(("127.0.0.2", 0)) as inner:
        inner.settimeout(0.3)
        assert refused(place.at(f"to/http://127.0.0.2:{inner.getsockname()[1]}/secret")) == "address-private"
        with pytest.raises(TimeoutError):
            inner.accept()


def test_the_address_that_was_judged_is_the_one_connected_to(place, monkeypatch):
    answers = iter([place.url, "http://127.0.0.2:1"])
    asked = []

    def look_up(host, port, *args, **named):
        asked.append(host)
        address = next(answers).removeprefix("http://").partition(":")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address[0], int(address[2])))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert Network(LOOPBACK).fetch("http://rebinding.example/good") == picture()
    assert asked == ["rebinding.example"]


def test_a_name_with_one_private_address_is_refused(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80)) for a in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert refused("http://mixed.example/x") == "address-private"


def test_what_passes_is_tried_again(place):
    place.flaky["flaky"] = 2
    assert refused(place.at("flaky")) == "reset"
    assert Network(replace(LOOPBACK, retries=2)).fetch(place.at("flaky")) == picture()
    before = len(place.asked)
    assert refused(place.at("none"), replace(LOOPBACK, retries=2)) == "http-404"
    assert len(place.asked) == before + 1


def test_a_host_is_asked_politely():
    with gallery() as made:
        made.bodies["good"] = picture()
        network = Network(replace(LOOPBACK, host_connections=1, host_interval=0.05, seconds=5))
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(network.fetch, [made.at("good")] * 6))
        times = sorted(at for at, _ in made.asked)
        assert made.most_at_once == 1
        assert times[-1] - times[0] >= 5 * 0.05 - 0.02


def test_networks_are_checked_when_they_are_set():
    with pytest.raises(BadInput, match="network-invalid"):
        Limits(allowed=("ten",))


@pytest.mark.parametrize(
    ("data", "cause"),
    [(b"", "empty"), (SVG, "not-an-image"), (b"<html></html>", "not-an-image"), (bomb(), "too-many-pixels"),
     (picture()[:600], "truncated"), (picture(form="PNG")[:600], "truncated"), (b"\xff\xd8\xff\xe0rest", "truncated")],
    ids=["empty", "svg", "html", "bomb", "cut jpeg", "cut png", "no jpeg"],
)  # fmt: skip
def test_what_is_no_image_has_its_cause(data, cause):
    with pytest.raises(Refusal) as caught:
        prepare(data, 1_000_000)
    assert caught.value.cause == cause


def test_odd_images_are_set_right_and_plain_ones_left_alone():
    import io

    import numpy as np
    from PIL import Image

    plain = picture()
    assert prepare(plain, 10_000) is plain
    for data in (animation(), picture(mode="CMYK"), deep_png(), deep_png(colour=False)):
        with Image.open(io.BytesIO(prepare(data, 10_000))) as shown:
            assert (shown.format, shown.size) == ("PNG", (48, 48))
            assert shown.mode in {"RGB", "RGBA", "L"}
            if data in {deep_png(), deep_png(colour=False)}:
                assert np.asarray(shown).max() == 64  # 0x4000 of 0xffff, not cut off at white
