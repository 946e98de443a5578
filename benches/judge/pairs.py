"""Labelled pairs of statements, from pools of phrases (their form: pools/FORMAT.md)."""
import random
import tomllib

REPLACES, SAME, APART = 0, 1, 2


def load(path):
    with open(path, "rb") as file:
        return tomllib.load(file)


def cap(text):
    return text[:1].upper() + text[1:]


def fill(phrase, v="", o="", w=""):
    if "|" in v:
        a, b = v.split("|", 1)
        phrase = phrase.replace("{a}", a).replace("{b}", b)
    return cap(phrase.replace("{v}", v).replace("{o}", o).replace("{w}", w))


def swap(v):
    a, b = v.split("|", 1)
    return b + "|" + a


def slot_pairs(slot, count, chance):
    """`count` labelled pairs (older, newer, label)."""
    out = []
    values, says = slot["values"], slot["says"]
    updates, ends, apart = slot.get("updates", []), slot.get("ends", []), slot.get("apart", [])
    shape = slot["shape"]
    def tell(v, o, plain=0.5):
        """States the value v, as news or not."""
        if updates and chance.random() > plain and shape != "many":
            return fill(chance.choice(updates), v, o)
        return fill(chance.choice(says), v)
    for _ in range(count):
        if shape == "order":
            v = chance.choice(values)
            if chance.random() < 0.5:
                v = swap(v)
            w = o = swap(v)
        else:
            v, w = chance.sample(values, 2)
            o = chance.choice([x for x in values if x not in (v, w)] or [w])
        kind = chance.random()
        if kind < 0.40:
            if shape == "many":
                if chance.random() < 0.5 and ends:
                    pair = (fill(chance.choice(says), v), fill(chance.choice(ends), v), REPLACES)
                    if chance.random() < 0.15:
                        pair = (pair[1], pair[0], REPLACES)
                else:
                    pair = (fill(chance.choice(says), v), fill(chance.choice(ends if ends and chance.random() < 0.5 else says), w), APART)
            elif ends and chance.random() < 0.2:
                pair = (tell(v, o), fill(chance.choice(ends), v), REPLACES)
                if chance.random() < 0.15:
                    pair = (pair[1], fill(chance.choice(says), v), REPLACES)
            else:
                pair = (tell(v, o, 0.6), tell(w, v, 0.25), REPLACES)
        elif kind < 0.55:
            if len(says) < 2:
                continue
            a, b = chance.sample(says, 2)
            first = fill(chance.choice(updates), v, o) if updates and shape != "many" and chance.random() < 0.3 else fill(a, v)
            pair = (first, fill(b, v), SAME)
        elif kind < 0.62 and ends and shape != "order":
            # The end of another value.
            pair = (tell(v, w), fill(chance.choice(ends), w), APART)
            if chance.random() < 0.4:
                pair = (pair[1], pair[0], APART)
        elif apart:
            x = fill(chance.choice(apart), v, o, w)
            # The neighbour speaks of the value that holds or of another one.
            y = tell(v, o) if chance.random() < 0.85 or not ends else fill(chance.choice(ends), o if shape != "order" else v)
            pair = (x, y, APART) if chance.random() < 0.5 else (y, x, APART)
        else:
            continue
        if pair[0] != pair[1]:
            out.append(pair)
    return out


def phrases(slot):
    """Statements of a slot, for pairs across slots."""
    out = []
    for i, v in enumerate(slot["values"]):
        w = slot["values"][i - 1]
        if slot["shape"] == "order":
            w = swap(v)
        for p in slot["says"] + slot.get("updates", []) + slot.get("ends", []) + slot.get("apart", []):
            out.append(fill(p, v, w, w))
    return out


def surface(text, chance):
    """The small differences between writers."""
    if chance.random() < 0.3:
        text = text.rstrip(".") + "."
    if chance.random() < 0.1:
        text = text[:1].lower() + text[1:]
    return text


def pools(files):
    slots, pairs = [], []
    for path in files:
        pool = load(path)
        for slot in pool.get("slot", []):
            slot = dict(slot)
            slot["domain"] = f"{path}:" + slot.get("domain", slot["name"])
            slots.append(slot)
        for p in pool.get("pair", []):
            pairs.append((p["old"], p["new"], {"replaces": REPLACES, "same": SAME, "apart": APART}[p["label"]]))
    return slots, pairs


def labelled(slots, pairs, per_slot, chance, surface_too=True):
    """Pairs of all slots, of statements about different things, and those that were written as pairs."""
    out = []
    every = [(slot["domain"], phrases(slot)) for slot in slots]
    for slot in slots:
        out += slot_pairs(slot, per_slot, chance)
        mine = phrases(slot)
        for _ in range(per_slot // 5):
            one = chance.choice(mine)
            # Of what several others say, the one that has most words in common.
            several = [chance.choice(others) for domain, others in chance.choices(every, k=40) if domain != slot["domain"]]
            if several:
                words = set(one.lower().split())
                other = max(several, key=lambda text: len(words & set(text.lower().split())))
                out.append((one, other, APART) if chance.random() < 0.5 else (other, one, APART))
        # Two attributes of one thing: each may be as it is, whatever the other.
        beside = [other for other in slots if other["domain"] == slot["domain"] and other["name"] != slot["name"]]
        for other in beside[:4]:
            if "order" not in (slot["shape"], other["shape"]):
                first = fill(chance.choice(slot["says"]), chance.choice(slot["values"]))
                second = fill(chance.choice(other["says"]), chance.choice(other["values"]))
                out.append((first, second, APART))
    for older, later, label in pairs:
        out.append((older, later, label))
        if label != REPLACES:
            out.append((later, older, label))
    if surface_too:
        out = [(surface(older, chance), surface(later, chance), label) for older, later, label in out]
    return out
