"""What the tiny world is made of, and how six languages name it.

Index i of every tuple is the same thing: shape 0 is a circle in every language.
"""

from __future__ import annotations

from dataclasses import dataclass

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "brown")
RGB = (
    (0.86, 0.10, 0.12),
    (0.98, 0.55, 0.08),
    (0.96, 0.88, 0.15),
    (0.12, 0.62, 0.20),
    (0.20, 0.82, 0.86),
    (0.12, 0.25, 0.85),
    (0.58, 0.18, 0.72),
    (0.48, 0.28, 0.12),
)
BACKGROUNDS = ("white", "black", "striped", "checkered")
PLACES = ("centre", "left", "right", "top", "bottom")
SIZES = ("", "small", "large")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Language:
    """One foreign language: its words by index, and sentences with slots colour, shape, background, number, digit."""

    code: str
    """As fastText's lid.176 names it."""
    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    backgrounds: tuple[str, ...]
    numbers: tuple[str, ...]
    sentences: tuple[str, ...]
    digit_sentences: tuple[str, ...]
    counted_sentences: tuple[str, ...]


LANGUAGES = (
    Language(
        "fr",
        ("cercle", "carré", "triangle", "étoile", "croix", "anneau", "cœur", "croissant de lune"),
        ("rouge", "orange", "jaune", "verte", "cyan", "bleue", "violette", "marron"),
        ("blanc", "noir", "rayé", "à carreaux"),
        ("zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"),
        (
            "une image qui montre la forme suivante : {shape}, de couleur {colour}, sur un fond {background}",
            "voici notre {shape} de couleur {colour}, dessiné pour vous sur un fond {background}",
            "on voit ici la forme « {shape} » peinte dans une jolie couleur {colour}",
        ),
        (
            "le chiffre {digit} écrit à la main sur une feuille de papier",
            "voici un chiffre manuscrit : c'est le {digit}",
        ),
        ("il y a {number} dessins de {shape} de couleur {colour} dans cette image",),
    ),
    Language(
        "de",
        ("Kreis", "Quadrat", "Dreieck", "Stern", "Kreuz", "Ring", "Herz", "Halbmond"),
        ("Rot", "Orange", "Gelb", "Grün", "Türkis", "Blau", "Lila", "Braun"),
        ("weißen", "schwarzen", "gestreiften", "karierten"),
        ("null", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
        (
            "das Bild zeigt die Form {shape} in der Farbe {colour} auf einem {background} Hintergrund",
            "hier sieht man ein Bild mit der Form {shape}, gemalt in der schönen Farbe {colour}",
            "ein Foto auf einem {background} Hintergrund, darauf die Figur {shape} in {colour}",
        ),
        (
            "die handgeschriebene Ziffer {digit} auf einem Blatt Papier",
            "eine von Hand geschriebene Zahl, nämlich die {digit}",
        ),
        ("auf diesem Bild sieht man {number} Mal die Form {shape} in der Farbe {colour}",),
    ),
    Language(
        "es",
        ("círculo", "cuadrado", "triángulo", "estrella", "cruz", "anillo", "corazón", "luna creciente"),
        ("rojo", "naranja", "amarillo", "verde", "cian", "azul", "morado", "marrón"),
        ("blanco", "negro", "a rayas", "a cuadros"),
        ("cero", "un", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"),
        (
            "la imagen muestra la figura de {shape} de color {colour} sobre un fondo {background}",
            "aquí se puede ver una figura de {shape} pintada de color {colour}",
            "dibujo de {shape} en un bonito color {colour} con el fondo {background}",
        ),
        ("el número {digit} escrito a mano en una hoja de papel", "una cifra manuscrita, es el número {digit}"),
        ("en esta imagen hay {number} figuras de {shape} de color {colour}",),
    ),
    Language(
        "it",
        ("cerchio", "quadrato", "triangolo", "stella", "croce", "anello", "cuore", "mezzaluna"),
        ("rosso", "arancione", "giallo", "verde", "ciano", "blu", "viola", "marrone"),
        ("bianco", "nero", "a righe", "a quadri"),
        ("zero", "una", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove"),
        (
            "questa immagine mostra la forma {shape} di colore {colour} su uno sfondo {background}",
            "ecco il disegno della figura {shape}, dipinta con un bel colore {colour}",
            "nella foto si vede la figura {shape} di colore {colour} con lo sfondo {background}",
        ),
        ("il numero {digit} scritto a mano su un foglio di carta", "una cifra scritta a mano, cioè il numero {digit}"),
        ("nella foto si vedono {number} figure della forma {shape} di colore {colour}",),
    ),
    Language(
        "ru",
        ("круг", "квадрат", "треугольник", "звезда", "крест", "кольцо", "сердце", "полумесяц"),
        ("красного", "оранжевого", "жёлтого", "зелёного", "голубого", "синего", "фиолетового", "коричневого"),
        ("белом", "чёрном", "полосатом", "клетчатом"),
        ("ноль", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять"),
        (
            "на картинке изображена фигура {shape} {colour} цвета на {background} фоне",
            "здесь можно увидеть рисунок: {shape} {colour} цвета",
            "{shape} {colour} цвета на {background} фоне, красивая фотография",
        ),
        ("цифра {digit}, написанная от руки на листе бумаги", "рукописная цифра {digit} на бумаге"),
        ("на этой картинке {number} раза нарисован {shape} {colour} цвета",),
    ),
    Language(
        "zh",
        ("圆形", "正方形", "三角形", "星星", "十字", "圆环", "爱心", "月牙"),
        ("红色", "橙色", "黄色", "绿色", "青色", "蓝色", "紫色", "棕色"),
        ("白色", "黑色", "条纹", "格子"),
        ("零", "一", "两", "三", "四", "五", "六", "七", "八", "九"),
        (
            "这张 图片 里 有 一个 {colour} 的 {shape} ,背景 是 {background} 的",
            "我们 可以 看到 一个 {colour} 的 {shape} 在 {background} 的 背景 上",
            "一个 漂亮 的 {colour} {shape} 的 照片",
        ),
        ("写在 纸上 的 手写 数字 {digit}", "这是 一个 手写 的 数字 {digit}"),
        ("这张 图片 里 有 {number} 个 {colour} 的 {shape}",),
    ),
)
