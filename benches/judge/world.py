"""Statements about several people and things, with several attributes each.

The pools vary the wording of one attribute at a time. Here the wording is plain, and what has to be told apart is whose
attribute it is, and which: "My wife is called Anna" and "My wife and I live in Oslo" share a wife and nothing else.
"""

from pairs import APART, REPLACES, SAME, cap

TOWNS = ["Oslo", "Lyon", "Bergen", "Bonn", "Porto", "Leeds", "Graz", "Osaka", "Lagos", "Quito", "Cork", "Pune"]
NAMES = ["Anna", "Zoe", "Max", "Karim", "Ines", "Paul", "Mei", "Olu", "Tom", "Luna", "Rosa", "Ben", "Biscuit", "Milo"]
JOBS = ["a nurse", "a baker", "a teacher", "a plumber", "an actor", "a lawyer", "a farmer", "an engineer", "a pilot"]
FIRMS = ["the post office", "a bank", "Siemens", "the hospital", "a small bakery", "the city council", "Ikea"]
LIKES = ["jazz", "hiking", "chess", "crime novels", "spicy food", "gardening", "old films", "sailing", "green tea"]
COLOURS = ["blue", "green", "red", "yellow", "purple", "black"]
FOODS = ["peanuts", "penicillin", "cats", "shellfish", "pollen", "eggs", "dust"]
DIETS = ["vegan", "a vegetarian", "a pescatarian", "on a keto diet"]
CARS = ["a Volvo", "an old Fiat", "a red Toyota", "an electric Renault", "a camper van"]
TONGUES = ["Polish", "Thai", "Welsh", "Arabic", "Spanish", "Greek"]
SPORTS = ["tennis", "football", "badminton", "the cello", "the drums", "rugby"]
PETS = ["a dog", "two cats", "a rabbit", "a parrot", "a tortoise", "a horse"]
DAYS = ["3 March", "12 June", "30 October", "the first of May", "24 August"]
AGES = ["6", "9", "17", "28", "41", "63", "80"]
SCHOOLS = ["at the grammar school", "at a Steiner school", "at the university of Leeds", "at a drama school"]
HOURS = ["7", "8", "half past nine", "10"]

PEOPLE = [
    ("wife", True), ("husband", True), ("sister", False), ("brother", False), ("mother", True), ("father", True),
    ("son", False), ("daughter", False), ("boss", True), ("neighbour", False), ("best friend", True), ("aunt", False),
    ("grandmother", False), ("flatmate", False), ("girlfriend", True), ("cousin", False), ("landlord", True),
]

# name, one value at a time, values, ways of saying, ways of saying that it changed, ways of saying that it ended.
# {s} is "my sister", {v} a value. None stands for what may be said of oneself only or of others only.
ATTRIBUTES = [
    ("name", True, NAMES, ["{s} is called {v}", "{s}'s name is {v}", "the name of {s} is {v}"], ["{s} goes by {v} now", "{s} has changed names and is {v} now"], []),
    ("town", True, TOWNS, ["{s} lives in {v}", "{s} has a flat in {v}", "{s} is based in {v}"], ["{s} moved to {v}", "{s} now lives in {v}", "{s} left and settled in {v}"], ["{s} no longer lives in {v}"]),
    ("job", True, JOBS, ["{s} is {v}", "{s} works as {v}", "{s} earns a living as {v}"], ["{s} became {v}", "{s} changed jobs and is {v} now", "{s} retrained as {v}"], ["{s} stopped working as {v}"]),
    ("firm", True, FIRMS, ["{s} works for {v}", "{s} works at {v}"], ["{s} has a new job at {v}", "{s} moved on to {v}"], ["{s} left {v}", "{s} was laid off by {v}"]),
    ("likes", False, LIKES, ["{s} likes {v}", "{s} enjoys {v}", "{s} is fond of {v}"], [], ["{s} is tired of {v}", "{s} doesn't like {v} any more"]),
    ("colour", True, COLOURS, ["{s}'s favourite colour is {v}", "{s} likes {v} best of all colours"], ["{s}'s favourite colour is {v} now", "{s} prefers {v} as a colour now"], []),
    ("allergy", False, FOODS, ["{s} is allergic to {v}", "{s} has an allergy to {v}"], [], ["{s} isn't allergic to {v} any more", "{s} outgrew the {v} allergy"]),
    ("diet", True, DIETS, ["{s} is {v}", "{s} eats like {v}"], ["{s} has become {v}", "{s} is {v} these days"], ["{s} is no longer {v}", "{s} gave up being {v}"]),
    ("car", True, CARS, ["{s} drives {v}", "{s}'s car is {v}"], ["{s} traded the car in for {v}", "{s} drives {v} now"], ["{s} sold {v}"]),
    ("tongue", False, TONGUES, ["{s} speaks {v}", "{s} is fluent in {v}"], [], ["{s} has forgotten all {v}"]),
    ("sport", False, SPORTS, ["{s} plays {v}", "{s} plays {v} on Tuesdays"], [], ["{s} gave up {v}", "{s} doesn't play {v} any more"]),
    ("pet", False, PETS, ["{s} has {v}", "{s} keeps {v}"], [], ["{s} no longer has {v}", "{s} gave {v} away"]),
    ("birthday", True, DAYS, ["{s}'s birthday is on {v}", "{s} was born on {v}"], [], []),
    ("age", True, AGES, ["{s} is {v} years old", "{s} is {v}"], ["{s} turned {v}", "{s} is {v} now"], []),
    ("school", True, SCHOOLS, ["{s} studies {v}", "{s} is a pupil {v}"], ["{s} changed and studies {v} now"], ["{s} dropped out {v}"]),
    ("hour", True, HOURS, ["{s} starts work at {v}", "{s}'s day at work begins at {v}"], ["{s} starts work at {v} now"], []),
    ("health", False, ["a bad knee", "asthma", "a broken arm", "migraines"], ["{s} has {v}", "{s} suffers from {v}"], [], ["{s} is over {v}"]),
    # Two people at once.
    ("together_town", True, TOWNS, ["{s} and I live in {v}", "I share a flat in {v} with {s}"], ["{s} and I moved to {v}"], []),
    ("together_thing", False, ["a car", "a garden", "a studio", "a boat"], ["{s} and I share {v}", "{s} and I own {v} together"], [], ["{s} and I sold {v}"]),
    ("together_do", False, LIKES, ["{s} and I both like {v}", "I do a lot of things with {s}, mostly {v}"], [], []),
    ("visit", False, TOWNS, ["{s} visited {v} last year", "{s} is flying to {v} on Friday", "{s} grew up in {v}"], [], []),
    ("helps", False, ["with the garden", "with the children", "with the taxes"], ["{s} helps me {v}"], [], ["{s} can't help me {v} any more"]),
    ("work_with", False, TOWNS, ["I work with {s} in {v}", "I met {s} in {v}"], [], []),
]
OF_ME = [a for a in ATTRIBUTES if a[0] not in ("name", "age") and not a[0].startswith(("together", "helps", "work_with"))]


def verb_of_me(text):
    """"My self is" into "I am"."""
    for old, new in (
        ("{s}'s", "my"), ("{s} isn't", "I'm not"), ("{s} doesn't", "I don't"), ("{s} is", "I'm"), ("{s} has", "I have"), ("{s} was", "I was"),
        ("lives", "live"), ("works", "work"), ("earns", "earn"), ("likes", "like"), ("enjoys", "enjoy"), ("drives", "drive"),
        ("speaks", "speak"), ("plays", "play"), ("keeps", "keep"), ("studies", "study"), ("starts", "start"),
        ("suffers", "suffer"), ("eats", "eat"), ("prefers", "prefer"), ("goes", "go"), ("{s}", "I"),
    ):
        text = text.replace(old, new)
    return text


def say(who, attribute, value, how, chance):
    name, _, _, says, updates, ends = attribute
    forms = {"says": says, "updates": updates or says, "ends": ends or says}[how]
    form = chance.choice(forms)
    if who == "I":
        text = verb_of_me(form)
    elif who == "note":
        # A note about the user leaves the user out.
        text = form.replace("{s}'s ", "").replace("{s} ", "").replace("{s}", "the user")
    else:
        text = form.replace("{s}", who)
    return cap(text.replace("{v}", value))


def world(count, chance):
    """`count` labelled pairs."""
    out = []
    while len(out) < count:
        kind = chance.random()
        style = chance.choice(["my ", "my ", "the user's ", ""])
        subject = style + chance.choice(PEOPLE)[0]
        me = chance.choice(["I", "note", "the user"])
        who, other = (subject, subject) if chance.random() < 0.7 else (me, me)
        attributes = ATTRIBUTES if who == subject else OF_ME
        attribute = chance.choice(attributes)
        _, single, values, _, updates, ends = attribute
        a, b = chance.sample(values, 2)
        how = "updates" if updates and chance.random() < 0.5 else "says"
        if kind < 0.42:
            # The same one, another attribute.
            second = chance.choice([x for x in attributes if x[0] != attribute[0]])
            if {attribute[0], second[0]} in ({"town", "together_town"}, {"job", "firm"}, {"job", "school"}):
                continue
            value = chance.choice(second[2])
            if chance.random() < 0.3 and a in second[2]:
                value = a
            how_second = chance.choice(["says", "says", "updates", "ends"])
            out.append((say(who, attribute, a, how, chance), say(other, second, value, how_second, chance), APART))
        elif kind < 0.6:
            # Somebody else, the same attribute.
            rest = [style + p for p, _ in PEOPLE if style + p != who] + ([me] if who != me else [])
            other = chance.choice(rest)
            if other == me and attribute not in OF_ME:
                continue
            value = a if chance.random() < 0.4 else b
            how_other = chance.choice(["says", "updates", "ends"])
            out.append((say(who, attribute, a, how, chance), say(other, attribute, value, how_other, chance), APART))
        elif kind < 0.85 and single:
            # Several sisters may have several names.
            if attribute[0] == "name" and not dict(PEOPLE).get(who.removeprefix(style), True):
                continue
            how_new = "updates" if updates else "says"
            out.append((say(who, attribute, a, how, chance), say(who, attribute, b, how_new, chance), REPLACES))
        elif kind < 0.9 and ends:
            out.append((say(who, attribute, a, "says", chance), say(who, attribute, a, "ends", chance), REPLACES))
        elif kind < 0.95 and not single:
            out.append((say(who, attribute, a, "says", chance), say(who, attribute, b, chance.choice(["says", "ends"]), chance), APART))
        else:
            first, second = say(who, attribute, a, "says", chance), say(who, attribute, a, "says", chance)
            if first != second:
                out.append((first, second, SAME))
    return out
