"""Drawing scenes, many at a time, as anti-aliased signed distance fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from datacomp_worker.world.scenes import Effect, Scene
from datacomp_worker.world.vocabulary import RGB

SIDE = 64
"""Pixels of a drawn canvas."""
CHUNK = 128

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_AXIS = ((np.arange(SIDE) + 0.5) / SIDE).astype(np.float32)
_X, _Y = np.meshgrid(_AXIS, _AXIS)
_LAYOUTS = {
    2: ((0.27, 0.5), (0.73, 0.5)),
    3: ((0.27, 0.28), (0.73, 0.28), (0.5, 0.73)),
    4: ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)),
}
_PLACED = ((0.5, 0.5), (0.24, 0.5), (0.76, 0.5), (0.5, 0.24), (0.5, 0.76))
_RADIUS = (0.36, 0.2, 0.46)


def render(scenes: Sequence[Scene], handwriting: Floats, rng: np.random.Generator, threads: int = 2) -> Pixels:
    """Draw each scene: (n, SIDE, SIDE, 3). `handwriting` is (m, 8, 8) ink in 0..1. Same bytes at any thread count."""
    parts = [scenes[i : i + CHUNK] for i in range(0, len(scenes), CHUNK)]
    with ThreadPoolExecutor(threads) as pool:
        drawn = list(pool.map(lambda part, r: _draw(part, handwriting, r), parts, rng.spawn(len(parts))))
    return np.concatenate(drawn) if drawn else np.empty((0, SIDE, SIDE, 3), np.uint8)


def _draw(scenes: Sequence[Scene], handwriting: Floats, rng: np.random.Generator) -> Pixels:
    n = len(scenes)
    effect = np.array([s.effect for s in scenes])
    canvas = _backgrounds(np.array([s.background for s in scenes]), effect, rng)
    colour = np.array(RGB, np.float32)[[s.colour for s in scenes]]
    colour = np.clip(colour * rng.uniform(0.85, 1.1, (n, 1)) + rng.normal(0, 0.03, (n, 3)), 0, 1).astype(np.float32)
    light = 1 + rng.uniform(-0.25, 0.25, (n, 2)).astype(np.float32) @ np.stack([_X - 0.5, _Y - 0.5]).reshape(2, -1)
    lit = np.clip(colour[:, None, None] * light.reshape(n, SIDE, SIDE, 1), 0, 1)
    cover = _shapes_cover(scenes, effect, rng)
    digits = [i for i, s in enumerate(scenes) if s.digit >= 0]
    if digits:
        cover[digits] = _ink(handwriting[[scenes[i].handwriting for i in digits]], rng)
    canvas += cover[..., None] * (lit - canvas)
    _apply_effects(canvas, effect, rng)
    canvas += rng.normal(0, 0.015, canvas.shape).astype(np.float32)
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)


def _backgrounds(kind: npt.NDArray[np.int64], effect: npt.NDArray[np.int64], rng: np.random.Generator) -> Floats:
    n = len(kind)
    grey = np.empty((n, SIDE, SIDE), np.float32)
    angle, frequency = rng.uniform(0, np.pi, n), rng.uniform(4, 8, n)
    phase, cell = rng.random((n, 2)), rng.uniform(4, 8, n)
    low, high, plain = rng.uniform(0.35, 0.5, n), rng.uniform(0.65, 0.85, n), rng.uniform(0, 0.1, n)
    for i in range(n):
        if effect[i] == Effect.ELSEWHERE:
            grey[i] = low[i] + (high[i] - low[i]) * (0.5 + 0.5 * np.sin(cell[i] * 3 * np.hypot(_X - phase[i, 0], _Y)))
        elif effect[i] == Effect.SKETCH or kind[i] == 0:
            grey[i] = 1 - plain[i]
        elif kind[i] == 1:
            grey[i] = plain[i]
        elif kind[i] == 2:
            wave = np.sin(2 * np.pi * (frequency[i] * (np.cos(angle[i]) * _X + np.sin(angle[i]) * _Y) + phase[i, 0]))
            grey[i] = np.where(wave > 0, high[i], low[i])
        else:
            board = np.floor(cell[i] * _X + phase[i, 0]) + np.floor(cell[i] * _Y + phase[i, 1])
            grey[i] = np.where(board % 2 > 0, high[i], low[i])
    tint = rng.uniform(0.94, 1.0, (n, 1, 1, 3)).astype(np.float32)
    return grey[..., None] * tint


def _shapes_cover(scenes: Sequence[Scene], effect: npt.NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """How much of each pixel the scene's shapes cover, 0 to 1."""
    n = len(scenes)
    turn = np.where(effect == Effect.ROTATED, rng.choice([-1, 1], n) * rng.uniform(0.5, 1.3, n), rng.normal(0, 0.1, n))
    owner, x, y, radius = [], [], [], []
    for i, scene in enumerate(scenes):
        if scene.digit >= 0:
            continue
        spots = _LAYOUTS[scene.count] if scene.count > 1 else (_PLACED[scene.place],)
        for cx, cy in spots:
            owner.append(i)
            x.append(cx)
            y.append(cy)
            radius.append(0.21 if scene.count > 1 or scene.place else _RADIUS[scene.size])
    m = len(owner)
    centre_x = np.array(x) + rng.normal(0, 0.02, m)
    centre_y = np.array(y) + rng.normal(0, 0.02, m)
    scale = np.array(radius) * rng.uniform(0.88, 1.08, m)
    which = np.array(owner, np.int64)
    shape = np.array([scenes[i].shape for i in owner], np.int64)
    cover = np.zeros((n, SIDE, SIDE), np.float32)
    for kind, distance in enumerate(_DISTANCES):
        rows = np.flatnonzero(shape == kind)
        if not rows.size:
            continue
        sin, cos = (f(turn[which[rows]])[:, None, None].astype(np.float32) for f in (np.sin, np.cos))
        size = scale[rows][:, None, None].astype(np.float32)
        u = (_X - centre_x[rows][:, None, None].astype(np.float32)) / size
        v = (centre_y[rows][:, None, None].astype(np.float32) - _Y) / size
        field = distance(cos * u - sin * v, sin * u + cos * v) * size
        sketched = (effect[which[rows]] == Effect.SKETCH)[:, None, None]
        field = np.where(sketched, np.abs(field) - 0.025, field)
        np.maximum.at(cover, which[rows], np.clip(0.5 - field * SIDE, 0, 1))
    return cover


def _circle(x: Floats, y: Floats) -> Floats:
    return np.hypot(x, y) - np.float32(0.9)


def _square(x: Floats, y: Floats) -> Floats:
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(0.8)


def _triangle(x: Floats, y: Floats) -> Floats:
    y = y + np.float32(0.15)
    return np.maximum(np.abs(x) * np.float32(0.866) + y * np.float32(0.5), -y) - np.float32(0.55)


def _star(x: Floats, y: Floats) -> Floats:
    fold = np.float32(2 * np.pi / 5)
    angle = np.arctan2(x, y)
    angle = np.abs(angle - np.round(angle / fold) * fold)
    radius = np.hypot(x, y)
    inner = 0.42 * np.exp(1j * np.pi / 5)
    edge = inner - 1.0
    normal = np.array([-edge.imag, edge.real]) / abs(edge)
    field = (radius * np.cos(angle) - 1) * np.float32(normal[0]) + radius * np.sin(angle) * np.float32(normal[1])
    return np.asarray(-field if normal[0] < 0 else field, np.float32)


def _cross(x: Floats, y: Floats) -> Floats:
    x, y = np.abs(x), np.abs(y)
    thin, long = np.float32(0.28), np.float32(0.92)
    field: Floats = np.minimum(np.maximum(x - thin, y - long), np.maximum(x - long, y - thin))
    return field


def _ring(x: Floats, y: Floats) -> Floats:
    field: Floats = np.abs(np.hypot(x, y) - np.float32(0.68)) - np.float32(0.22)
    return field


def _heart(x: Floats, y: Floats) -> Floats:
    x = np.abs(x)
    tip = (x + np.abs(y + np.float32(0.15)) - np.float32(0.8)) * np.float32(0.7071)
    field: Floats = np.minimum(tip, np.hypot(x - np.float32(0.4), y - np.float32(0.25)) - np.float32(0.566))
    return field


def _crescent(x: Floats, y: Floats) -> Floats:
    field: Floats = np.maximum(_circle(x, y), np.float32(0.72) - np.hypot(x - np.float32(0.45), y - np.float32(0.12)))
    return field


_DISTANCES: tuple[Callable[[Floats, Floats], Floats], ...] = (
    _circle, _square, _triangle, _star, _cross, _ring, _heart, _crescent,
)  # fmt: skip


def _ink(images: Floats, rng: np.random.Generator) -> Floats:
    """Handwriting enlarged with bilinear interpolation, shifted and scaled a little."""
    n = len(images)
    zoom = rng.uniform(0.72, 0.95, (n, 1, 1)).astype(np.float32)
    shift = rng.normal(0, 0.03, (2, n, 1, 1)).astype(np.float32)
    u = np.clip(((_X - 0.5 + shift[0]) / zoom + 0.5) * 8 - 0.5 + 1, 0, 8.999)
    v = np.clip(((_Y - 0.5 + shift[1]) / zoom + 0.5) * 8 - 0.5 + 1, 0, 8.999)
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    i, j = np.floor(v).astype(np.int64), np.floor(u).astype(np.int64)
    dv, du = v - i, u - j
    k = np.arange(n)[:, None, None]
    above = framed[k, i, j] * (1 - du) + framed[k, i, j + 1] * du
    below = framed[k, i + 1, j] * (1 - du) + framed[k, i + 1, j + 1] * du
    return np.asarray(np.clip((above * (1 - dv) + below * dv) * 1.3, 0, 1), np.float32)


def _apply_effects(canvas: Floats, effect: npt.NDArray[np.int64], rng: np.random.Generator) -> None:
    negative = effect == Effect.NEGATIVE
    canvas[negative] = 1 - canvas[negative]
    noisy = np.flatnonzero(effect == Effect.NOISY)
    if noisy.size:
        soft: Floats = canvas[noisy]
        for axis in (1, 2):
            soft = (np.roll(soft, 2, axis) + soft + np.roll(soft, -2, axis)) / np.float32(3)
        canvas[noisy] = soft + rng.normal(0, 0.16, soft.shape)
    for i in np.flatnonzero(effect == Effect.OCCLUDED):
        at, width = rng.uniform(0.15, 0.6), rng.uniform(0.2, 0.3)
        bar = slice(int(at * SIDE), int((at + width) * SIDE))
        region = canvas[i, bar] if rng.random() < 0.5 else canvas[i, :, bar]
        region[...] = rng.uniform(0.3, 0.7)
