#!/usr/bin/env python3
"""A second implementation of what core/sync/PROTOCOL.md says, in Python's standard library alone: recomputes every line of
wire.txt and seal.txt that follows from the page and from the inputs in the files' heads, and verifies certificate.txt.

    python3 core/protocol/vectors/check.py

Slow and not in constant time: it is here to show that the page is precise, not to be used.
"""

import hashlib
import hmac
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
SEAL = HERE.parent.parent / "sync" / "vectors"


# --- Primitives: Ed25519 (RFC 8032), X25519 (RFC 7748), ChaCha20-Poly1305 (RFC 8439), HKDF (RFC 5869) ---

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
BASE_Y = 4 * pow(5, P - 2, P) % P


def sha256(data):
    return hashlib.sha256(data).digest()


def recover_x(y, sign):
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def add(one, other):
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


IDENTITY = (0, 1, 1, 0)


def multiply(scalar, point):
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def negate(point):
    return (-point[0] % P, point[1], point[2], -point[3] % P)


def compress(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decompress(data):
    number = int.from_bytes(data, "little")
    y, sign = number & (1 << 255) - 1, number >> 255
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


BASE = (recover_x(BASE_Y, 0), BASE_Y, 1, recover_x(BASE_Y, 0) * BASE_Y % P)


def expand_seed(seed):
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
    return scalar, digest[32:]


def public(seed):
    return compress(multiply(expand_seed(seed)[0], BASE))


def ed25519(seed, message):
    scalar, prefix = expand_seed(seed)
    key = compress(multiply(scalar, BASE))
    nonce = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % ORDER
    point = compress(multiply(nonce, BASE))
    challenge = int.from_bytes(hashlib.sha512(point + key + message).digest(), "little") % ORDER
    return point + ((nonce + challenge * scalar) % ORDER).to_bytes(32, "little")


def ed25519_verify(key, message, signature):
    scalar, point = int.from_bytes(signature[32:], "little"), decompress(key)
    if scalar >= ORDER or point is None:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    return compress(add(multiply(scalar, BASE), negate(multiply(challenge, point)))) == signature[:32]


def x25519(secret, public_key):
    scalar = int.from_bytes(secret, "little") & (1 << 254) - 8 | 1 << 254
    x1 = int.from_bytes(public_key, "little") & (1 << 255) - 1
    x2, z2, x3, z3, swapped = 1, 0, x1, 1, 0
    for place in reversed(range(255)):
        bit = scalar >> place & 1
        if swapped ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swapped = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swapped:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


NINE = (9).to_bytes(32, "little")


def mac(key, data):
    return hmac.new(key, data, "sha256").digest()


def expand(prk, info, length=32):
    out, block, index = b"", b"", 1
    while len(out) < length:
        block = mac(prk, block + info + bytes([index]))
        out, index = out + block, index + 1
    return out[:length]


def kdf(ikm, salt, info, length=32):
    return expand(mac(salt, ikm), info, length)


def chacha(key, counter, nonce, length):
    out = b""
    while len(out) < length:
        start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
        start += [*struct.unpack("<8I", key), counter, *struct.unpack("<3I", nonce)]
        state = start[:]

        def quarter(a, b, c, d):
            for first, second, third, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                state[first] = (state[first] + state[second]) & 0xFFFFFFFF
                mixed = state[third] ^ state[first]
                state[third] = (mixed << turn | mixed >> 32 - turn) & 0xFFFFFFFF

        for _ in range(10):
            for index in range(4):
                quarter(index, index + 4, index + 8, index + 12)
            quarter(0, 5, 10, 15)
            quarter(1, 6, 11, 12)
            quarter(2, 7, 8, 13)
            quarter(3, 4, 9, 14)
        out += struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(state, start)))
        counter += 1
    return out[:length]


def seal(key, aad, plain, nonce=bytes(12)):
    sealed = bytes(a ^ b for a, b in zip(plain, chacha(key, 1, nonce, len(plain))))
    poly = chacha(key, 0, nonce, 32)
    r = int.from_bytes(poly[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    data = aad + bytes(-len(aad) % 16) + sealed + bytes(-len(sealed) % 16)
    data += struct.pack("<QQ", len(aad), len(sealed))
    total = 0
    for place in range(0, len(data), 16):
        total = (total + int.from_bytes(data[place : place + 16] + b"\1", "little")) * r % (2**130 - 5)
    tag = (total + int.from_bytes(poly[16:], "little")) & (1 << 128) - 1
    return sealed + tag.to_bytes(16, "little")


# --- The page, section 2 to 5 ---


def ctx(label):
    text = b"hearth-sync/1 " + label.encode()
    return bytes([len(text)]) + text


def H(label, *parts):
    return sha256(ctx(label) + b"".join(parts))


def signed(seed, identity):
    return ed25519(seed, ctx("signature") + identity)


def number(value):
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def blob(data):
    return number(len(data)) + data


def listed(items):
    return number(len(items)) + b"".join(items)


def be32(value):
    return struct.pack(">I", value)


def be64(value):
    return struct.pack(">Q", value)


def merkle(leaves):
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return H("merkle leaf", leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return H("merkle node", merkle(leaves[:split]), merkle(leaves[split:]))


def pad(content):
    length = max(len(content) + 1, 64)
    exponent = length.bit_length() - 1
    step = 1 << exponent - exponent.bit_length()
    length = -(-length // step) * step
    return content + b"\x80" + bytes(length - len(content) - 1)


def log_key(n):
    return public(bytes([n]) * 32)


def device_keys(n):
    return log_key(n) + public(bytes([n + 100]) * 32) + bytes([n]) * 32


def device_id(n):
    return H("device id", device_keys(n)[:64])


CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def base32(data):
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    return "".join(CROCKFORD[int(bits[place : place + 5], 2)] for place in range(0, len(bits), 5))


def typed(values):
    values = values + bytes([H("pairing check", values)[0] & 31])
    text = "".join(CROCKFORD[value] for value in values)
    return values, f"{text[:4]}-{text[4:8]}-{text[8:]}"


def wire():
    yield "context(envelope)", ctx("envelope")
    one = b"\1" * 32
    yield "device 1: log key, seed 01 x 32", log_key(1)
    yield "device 1: transport key, seed 65 x 32", public(bytes([101]) * 32)
    yield "device 1: id", device_id(1)
    genesis = number(0) + bytes(32) + device_id(1) + number(1_750_000_000_000)
    genesis += b"\1" + b"\7" * 16 + device_keys(1) + public(bytes([90]) * 32) + b"\x09" * 32 + b"\0"
    genesis += signed(bytes([90]) * 32, H("genesis approval", genesis + bytes(64)))
    account = H("control entry", bytes(32), genesis)
    yield "genesis", genesis + signed(one, account)
    yield "account", account

    opening = device_id(1) + b"\x20" * 16
    log = H("log id", account, opening)[:16]
    link = H("log open", account, opening)
    yield "log open", opening
    yield "log open: signature", signed(one, link)
    yield "log", log
    yield "link 0", link

    handle = b"\x21" * 16
    key = H("document key id", account, handle, be32(0), b"\x22" * 32)[:8]
    fields = b"\1" + handle + number(0) + key + b"\0"
    fields += listed([b"\x23" * 16 + number(3)]) + listed([b"\x23" * 16 + number(300)]) + b"\x24" * 8
    header = b"\1" + log + number(1) + fields
    data = ctx("envelope") + account + link + header
    ciphertext = b"\x25" * 80
    header_hash = sha256(data + sha256(ciphertext))
    link = H("link", link, header_hash)
    position = H("position", account, log, be64(1), link)
    signature = signed(one, position)
    yield "envelope 1: header", header
    yield "envelope 1: associated data", data
    yield "envelope 1: ciphertext hash", sha256(ciphertext)
    yield "envelope 1: header hash", header_hash
    yield "envelope 1: position id", position
    sealed = fields + blob(ciphertext) + signature
    yield "envelope 1", b"\1" + log + number(1) + sealed
    yield "link 1", link
    yield "batch", b"\1\1" + log + number(1) + listed([b"\1" + sealed, b"\2" + b"\x26" * 32])

    vector = listed([log + number(1) + link])
    digest = H("version vector", account, vector)
    yield "vector", vector
    yield "vector digest", digest
    yield "live root of 1 to 3", merkle([log + number(n) + bytes([n]) * 32 for n in (1, 2, 3)])

    erase = log + number(1) + b"\x30" * 16 + listed([handle]) + b"\0" + account + number(1_750_000_000_123)
    erase_id = H("erase", account, erase)
    yield "erase", erase + signed(one, erase_id)
    yield "erase: id", erase_id
    yield "erased root of it alone", merkle([erase_id])

    hello = number(1) + b"\1" + listed([number(1)]) + account + device_id(1) + b"\x40" * 16 + b"\1" + log
    hello += digest + account + number(0) + number(0) + bytes(32) + bytes(32)
    yield "hello, framed", be32(len(hello)) + hello

    values, text = typed(bytes(range(11)))
    yield "typed code of 00..0a", text
    yield "typed code: mailbox", H("pairing mailbox", values[:4])[:16]
    yield "scan code", "HEARTH:" + base32(b"\1" + device_keys(2) + b"\x50" * 16 + blob(b"a:1"))
    yield "scan code: mailbox", H("pairing mailbox", b"\x50" * 16)[:16]
    first = int.from_bytes(H("pairing short string", bytes(32))[:8], "big")
    yield "short string of 00 x 32", f"{first % 10**6:06}"


# --- Sealing: sections 3 to 6 and 11, and HPKE (RFC 9180) ---

KEM, SUITE = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"


def labeled_extract(suite, salt, label, ikm):
    return mac(salt, b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite, prk, label, info, length):
    return expand(prk, struct.pack(">H", length) + b"HPKE-v1" + suite + label + info, length)


def derive_private(ikm):
    return labeled_expand(KEM, labeled_extract(KEM, b"", b"dkp_prk", ikm), b"sk", b"", 32)


def hpke_seal(to, info, plain, ikm):
    ephemeral = derive_private(ikm)
    encapsulated = x25519(ephemeral, NINE)
    prk = labeled_extract(KEM, b"", b"eae_prk", x25519(ephemeral, to))
    shared = labeled_expand(KEM, prk, b"shared_secret", encapsulated + to, 32)
    context = b"\0" + labeled_extract(SUITE, b"", b"psk_id_hash", b"")
    context += labeled_extract(SUITE, b"", b"info_hash", info)
    secret = labeled_extract(SUITE, shared, b"secret", b"")
    key = labeled_expand(SUITE, secret, b"key", context, 32)
    return encapsulated + seal(key, b"", plain, labeled_expand(SUITE, secret, b"base_nonce", context, 12))


def random_pieces():
    index = 0
    while True:
        index += 1
        yield sha256(be64(index))


def seal_lines(committed):
    account, seed, document = b"\1" * 32, b"\2" * 32, b"\3" * 32
    epoch_key, previous, log, handle = b"\4" * 32, b"\5" * 32, b"\6" * 16, b"\7" * 16
    yield "signer: public key", public(seed)

    # The word list isn't here: the words' indices follow from the bits, and the list is in the order of the alphabet.
    entropy = b"\x10" * 32
    bits = "".join(f"{byte:08b}" for byte in entropy + sha256(entropy)[:1])
    places = [int(bits[place : place + 11], 2) for place in range(0, 264, 11)]
    words = committed["phrase"].split(" ")
    pairs = sorted(set(zip(places, words)))
    in_order = [word for _, word in pairs] == sorted(set(words)) and len(pairs) == len(set(places))
    yield "phrase", committed["phrase"] if len(words) == 24 and in_order else "other words"
    yield "phrase: signing key", public(kdf(entropy, b"", ctx("recovery") + b"signing"))
    agreement = derive_private(kdf(entropy, b"", ctx("recovery") + b"agreement"))
    yield "phrase: agreement key", x25519(agreement, NINE)

    commitment = H("epoch commitment", account, be64(1), epoch_key)
    yield "epoch: commitment", commitment
    yield "epoch: discovery key", kdf(epoch_key, b"", ctx("lan discovery") + account)
    to = x25519(derive_private(b"\x13" * 32), NINE)
    yield "device: agreement key", to
    info = ctx("epoch wrap") + account + be64(1) + b"\x11" * 32 + commitment + b"\x12" * 32
    yield "epoch: wrap", to + hpke_seal(to, info, epoch_key, next(random_pieces()))

    salt, epoch, generation = next(random_pieces())[:8], b"\x08" * 32, 2
    reference = H("document key id", account, handle, be32(generation), document)[:8]
    info = ctx("document key wrap") + account + epoch + log + be64(9) + handle + be32(generation) + reference
    new_key = epoch + seal(kdf(epoch_key, salt, info), info, document)
    fields = b"\1" + handle + number(generation) + reference + b"\1" + new_key + number(0) + number(0) + salt
    header = b"\1" + log + number(9) + fields
    data = ctx("envelope") + account + previous + header
    ciphertext = seal(kdf(document, salt, ctx("envelope key") + sha256(data)), data, pad(b"content"))
    header_hash = sha256(data + sha256(ciphertext))
    link = H("link", previous, header_hash)
    signature = signed(seed, H("position", account, log, be64(9), link))
    yield "envelope", header + blob(ciphertext) + signature
    yield "envelope: header hash", header_hash
    yield "envelope: link", link

    pieces = random_pieces()
    shard_key, salt = next(pieces), next(pieces)[:16]
    info = ctx("shard key") + account + b"\7"
    content = pad(listed([handle + number(generation) + document]))
    sealed = seal(kdf(shard_key, salt, info), info, content)
    yield "shard: key", shard_key
    yield "shard", b"\7" + salt + blob(sealed)


# --- Pairing: section 10, SPAKE2 (RFC 9382) ---


def blinding(letter):
    """RFC 9382, appendix A: the first hash of the seed, hashed again and again, that is a point of the large group."""
    data = f"edwards25519 point generation seed ({letter})".encode()
    while True:
        data = sha256(data)
        point = decompress(data)
        if point and compress(multiply(ORDER, point)) == compress(IDENTITY):
            return point


def pairing_lines():
    values, _ = typed(bytes(range(11)))
    mailbox = H("pairing mailbox", values[:4])[:16]
    wide = kdf(values, b"", ctx("pairing key") + mailbox, 64)
    w = int.from_bytes(wide, "little") % ORDER
    yield "w", w.to_bytes(32, "big")
    pieces = random_pieces()
    x = int.from_bytes(next(pieces) + next(pieces), "little") % ORDER
    y = int.from_bytes(next(pieces) + next(pieces), "little") % ORDER
    m, n = blinding("M"), blinding("N")
    of_a = compress(add(multiply(w, m), multiply(x, BASE)))
    of_b = compress(add(multiply(w, n), multiply(y, BASE)))
    yield "share of the new device", of_a
    yield "share of the enrolled device", of_b
    shared = multiply(8 * x, add(decompress(of_b), negate(multiply(w, n))))
    transcript = b"".join(
        struct.pack("<Q", len(part)) + part
        for part in (b"", b"", of_a, of_b, compress(shared), w.to_bytes(32, "big"))
    )
    digest = sha256(transcript)
    keys = kdf(digest[16:], b"", b"ConfirmationKeys")
    yield "confirmation of the new device", mac(keys[:16], transcript)
    yield "confirmation of the enrolled device", mac(keys[16:], transcript)
    key = kdf(digest[:16], b"", ctx("pairing key"))
    yield "pairing key, typed", key
    scanned = kdf(b"\x50" * 16, b"", ctx("pairing key") + device_keys(2))
    yield "pairing key, scanned", scanned
    nonce, salt = b"\x51" * 16, next(random_pieces())[:16]
    introduction = number(1) + device_keys(2) + H("pairing commitment", nonce)
    sealed = seal(kdf(scanned, salt, ctx("pairing key") + b"\0"), b"", b"\1" + introduction)
    yield "introduction, in the mailbox", b"\3" + blob(salt + sealed)
    genesis = bytes.fromhex(read(HERE / "wire.txt")["genesis"])
    account = bytes.fromhex(read(HERE / "wire.txt")["account"])
    offer = number(1) + device_keys(1) + genesis + account + b"\x52" * 32 + b"\x53" * 16
    transcript = H("pairing transcript", introduction, offer, nonce)
    yield "transcript", transcript
    first = int.from_bytes(H("pairing short string", transcript)[:8], "big")
    yield "short string", f"{first % 10**6:06}"


# --- The certificate: the signatures of its ends ---


def certificate_lines(committed):
    data = bytes.fromhex(committed["certificate"])
    good = data[:16] == b"hearth-erasure-1"
    account = bytes.fromhex(committed["account"])
    identity = H("certificate", account, data[16:-64])
    good = good and ed25519_verify(log_key(2), ctx("signature") + identity, data[-64:])
    yield "certificate", data if good else b"not signed by device 2"
    # The control log begins with the account's genesis; the erasure is found by what is known of it.
    genesis = bytes.fromhex(read(HERE / "wire.txt")["genesis"])
    place = data.find(genesis)
    yield "account", H("control entry", bytes(32), data[place : place + len(genesis) - 64])
    log = H("log id", account, device_id(1), b"\1" * 16)[:16]
    erase = log + number(1) + b"\1" * 16 + listed([b"\1" * 16, b"\x65" * 16]) + b"\0"
    place = data.find(erase) + len(erase)
    erase += data[place : place + 32] + number(1_750_000_100_000)
    yield "subject", H("erase", account, erase)


def read(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split(" = ", 1) for line in lines)


def main():
    wrong = checked = 0
    files = [
        (HERE / "wire.txt", lambda committed: wire()),
        (SEAL / "seal.txt", seal_lines),
        (SEAL / "pairing.txt", lambda committed: pairing_lines()),
        (HERE / "certificate.txt", certificate_lines),
    ]
    for path, lines in files:
        committed = read(path)
        computed = {name: value if isinstance(value, str) else value.hex() for name, value in lines(committed)}
        for name in committed.keys() | computed.keys():
            checked += 1
            if committed.get(name) != computed.get(name):
                wrong += 1
                print(f"{path.name}: {name}\n  committed {committed.get(name)}\n  computed  {computed.get(name)}")
    print(f"{checked - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
