"""Seeded damage to files: bytes, JSON documents, records with right checksums, odd kinds."""

import json
import os
import zlib

from batchnorm.lab.records import _lines

HOSTILE = (
    None, True, -1, 0, 3, 2**63, 1e308, -1e-320, "", "x", "../../x", "\x1b[31mred", "a\nb", [], {},
    [[[[1.0]]]], [None], ["x", 1.0], {"x": {"y": []}}, "0" * 5_000,
)  # fmt: skip
RAW = ("NaN", "-Infinity", "1e999", "9" * 5_000, "9" * 400, '"\\ud800"', "[" * 100_000, "{")


def as_bytes(content, random):
    """Return content with something cut, changed, put in or doubled."""
    place = random.randrange(len(content) + 1)
    return random.choice(
        (
            lambda: content[:place],
            lambda: b"",
            lambda: content[place:],
            lambda: content[:place] + bytes([random.randrange(256)]) + content[place + 1 :],
            lambda: content[:place] + b"\0" * 9 + content[place:],
            lambda: content[:place] + b"\xff\xfe\xfa" + content[place:],
            lambda: content + content,
            lambda: random.randbytes(len(content)),
        )
    )()


def as_json(document, random):
    """Return a document with one value replaced, one key gone, one twice, or one of no JSON."""
    document = json.loads(json.dumps(document))
    places = list(_places(document))
    holder, key = random.choice(places)
    how = random.randrange(5)
    if how == 0 and isinstance(holder, dict):
        del holder[key]
    elif how == 1:
        holder[key] = "@@"
        return json.dumps(document).replace('"@@"', random.choice(RAW))
    elif how == 2 and isinstance(document, dict):
        text = json.dumps(document)
        return text[:-1] + ", " + text[1:]
    else:
        holder[key] = random.choice(HOSTILE)
    return json.dumps(document)


def as_record(line, random):
    """Return a line of a record with another content and the checksum that fits it."""
    body = as_json(_lines.decode(line), random)
    return f'{body[:-1]},"crc32":"{zlib.crc32(body.encode(errors="replace")):08x}"}}'


def as_another_kind(path, random):
    """Put something in the place of a file that is no plain file."""
    path.unlink()
    random.choice(
        (
            path.mkdir,
            lambda: os.mkfifo(path),
            lambda: path.symlink_to(path.name),
            lambda: path.symlink_to("nowhere"),
            lambda: path.symlink_to("/dev/zero"),
            lambda: None,
        )
    )()


def _places(value):
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in list(inside):
        yield value, key
        if isinstance(part, dict | list):
            yield from _places(part)
