"""Makes the job cards of a car workshop, in the shorthand that its mechanics write: `train.jsonl`, `test.jsonl`.

Everything in them is made up. The two files have different cards, cars and owners.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

# What a mechanic notes, and what the front desk asks about it later. {n} and {m} are numbers, {s} is a side.
NOTES: dict[str, tuple[list[str], list[str]]] = {
    "complaint": (
        ["c/o squeal f. brks when slow", "c/o vib thro' str whl 60-70", "c/o non-start when cold"]
        + ["c/o burning smell after m'way", "c/o blows warm with A/C on", "c/o clunk {s}F over bumps"]
        + ["c/o water in boot", "c/o clutch slip in 5th", "c/o flat batt o/n", "c/o whine rear > 40"],
        ["What was the problem of {car} according to its owner?", "Why was {car} brought in?"]
        + ["Which trouble did the owner of {car} describe?"],
    ),
    "front pads": (
        ["FP {n} / {m} mm", "f. pads {n}mm OS, {m}mm NS", "pads F {n}/{m}"],
        ["How thick were the front brake linings of {car}?", "How worn were the brakes at the front of {car}?"],
    ),
    "rear pads": (
        ["RP {n} / {m} mm", "r. pads {n}mm OS, {m}mm NS", "pads R {n}/{m}"],
        ["How thick were the brake linings at the back of {car}?", "How worn were the rear brakes of {car}?"],
    ),
    "discs": (
        ["discs f. lipped, BIN", "f. discs u/s, rep", "discs below min, rep"],
        ["Could the brake rotors of {car} still be used?", "In what state were the brake rotors of {car}?"],
    ),
    "tyres": (
        ["NSF {n} OSF {n} NSR {m} OSR {m}", "tyres: F {n}mm R {m}mm", "tread f {n} r {m}"],
        ["How much rubber was left on the wheels of {car}?", "How deep was the profile of the rubber on {car}?"],
    ),
    "oil": (
        ["EOL + filt, 5w30 x {n}L", "drn & refill 5w30 {n}L", "lube svc, {n}L fully syn"],
        ["How much lubricant did the engine of {car} get?", "Which lubricant was filled into {car}?"],
    ),
    "coolant": (
        ["anti-fz good to -{k}", "a/freeze -{k}", "clnt str -{k}, ok"],
        ["How cold may it get before the radiator of {car} freezes?", "Is {car} ready for frost?"],
    ),
    "brake fluid": (
        ["BF {n}% H2O, chgd", "brk fl {n}% wet, flushed", "BF test {n}%, rep"],
        ["How much moisture was in the hydraulics of the brakes of {car}?"]
        + ["Why was the hydraulic liquid of the brakes of {car} exchanged?"],
    ),
    "battery": (
        ["batt {k}0 CCA of 540, weak", "batt fails under load, rep", "batt 11.{n}V, chgd o/n"],
        ["Did the accumulator of {car} still hold its charge?", "What was measured on the power source of {car}?"],
    ),
    "lamp": (
        ["{s}R stop blb u/s, rep", "no. plt lt out, rep", "{s}F dip blb u/s, rep", "fog {s}R dead, adv"],
        ["Which lamp of {car} did not work?", "What was wrong with the lighting of {car}?"],
    ),
    "wipers": (
        ["blds f. split, rep pr", "w/scrn blds smear, rep", "rr bld torn, rep"],
        ["What was done so that the driver of {car} sees well in rain?"]
        + ["What was wrong with the rubber that clears the glass of {car}?"],
    ),
    "belt": (
        ["CB due @ {k}0k, adv", "cambelt o/due, qtd", "t/belt + w/pump qtd, cust to think"],
        ["Must the strap that drives the valves of {car} be exchanged?", "What about the timing of {car}?"],
    ),
    "air conditioning": (
        ["A/C regas {k}0g, dye in", "a/c low, vac + regas {k}0g", "cond leaks, no regas"],
        ["How much refrigerant was filled into {car}?", "What was done so that {car} cools its cabin again?"],
    ),
    "suspension": (
        ["{s}F lwr arm bush perished, o/o", "{s}R spring snapped, rep", "ARB link {s}F play, rep"],
        ["Which part that carries the wheels of {car} was damaged?", "What was found under the chassis of {car}?"],
    ),
    "exhaust": (
        ["b/box holed, welded", "flexi blowing, rep", "exh mount gone, rep"],
        ["What was repaired on the pipe for the fumes of {car}?", "Why was {car} so loud?"],
    ),
    "alignment": (
        ["trk'g {n}' toe-in, reset", "4wa done, OSR off", "geo out, adj to spec"],
        ["Did the wheels of {car} point straight ahead?", "Why did {car} pull to one side?"],
    ),
    "code": (
        ["DTC P0{k}1, clrd", "scan: P0{k}4 x2, clrd", "EML: P0{k}3, no re-occ"],
        ["What was stored in the memory of the engine computer of {car}?", "What did the diagnosis of {car} show?"],
    ),
    "drive": (
        ["RT {n} mls, NFF", "r/t ok, {n} mls", "rd tested {n}m, still there"],
        ["How did {car} behave on the trial run?", "How far was {car} driven to try it?"],
    ),
    "time": (
        ["lab {n}.5", "{n}h 30 bkd", "hrs: {n}.2"],
        ["How long did the mechanic work on {car}?", "How much working time is charged for {car}?"],
    ),
    "next": (
        ["NSD {k}k / 12m", "nxt svc {k}k", "due back {k}k or Nov"],
        ["When does {car} need its next inspection?", "At what distance should {car} be back?"],
    ),
    "nut": (
        ["LWN in glvbx", "lkg nut in boot well", "LWN m/sing, drilled off"],
        ["Where is the special key for the bolts of the rims of {car}?", "Can the rims of {car} be taken off?"],
    ),
    "wash": (
        ["W&V f.o.c.", "valet n/c", "not w/v'd, rain"],
        ["Was {car} cleaned?", "Did the owner of {car} get the cleaning as a present?"],
    ),
    "payment": (
        ["to a/c", "pd card", "inv. sent, 14d", "pd cash, rcpt giv"],
        ["How was the bill for {car} settled?", "Is there still money owed for {car}?"],
    ),
    "consent": (
        ["auth by tel 10.{k}", "OK'd extra by txt", "cust dec'd extra wk"],
        ["Did the owner of {car} agree to the additional repairs?", "How did the owner of {car} give consent?"],
    ),
}  # fmt: skip

OWNERS = {
    "train": ["Abbott", "Banerjee", "Clarke", "Duarte", "Ellis", "Farooq", "Greene", "Hussain", "Ibrahim", "Jones"]
    + ["Kaur", "Lewis", "Murphy", "Novak", "Okafor", "Patel", "Quinn", "Roberts", "Singh", "Taylor"],
    "test": ["Usman", "Vaughan", "Walker", "Xu", "Young", "Zielinski", "Adeyemi", "Bailey", "Cooper", "Dixon"],
}
CARS = {
    "train": ["Fiesta", "Corsa", "Golf", "Astra", "Polo", "Clio", "Micra", "Yaris", "Focus", "Mini"],
    "test": ["Civic", "Jazz", "Fabia", "Ibiza", "Panda"],
}


def make_card(rng: random.Random, number: int, owner: str, car: str) -> dict[str, Any]:
    """A card of six to nine notes, with questions about three of them."""
    kinds = rng.sample(list(NOTES), rng.randint(6, 9))
    asked = set(rng.sample(kinds, 3))
    text = f"Job {number}, {owner}, {car}."
    questions = []
    for kind in kinds:
        notes, wordings = NOTES[kind]
        numbers = {"n": rng.randint(2, 8), "m": rng.randint(2, 8), "k": rng.randint(14, 45)}
        note = rng.choice(notes).format(**numbers, s=rng.choice(["NS", "OS"]))
        start = len(text) + 1
        text += f"\n{note[0].upper()}{note[1:].removesuffix('.')}."
        if kind in asked:
            question = rng.choice(wordings).format(car=f"{owner}'s {car}")
            questions.append({"question": question, "answers": [{"start": start, "end": len(text)}]})
    return {"id": str(number), "lang": "en", "text": text, "questions": questions}


def main() -> None:
    """Write both files."""
    rng = random.Random(0)
    number = 1000
    for name, count in (("train", 200), ("test", 50)):
        pairs = [(owner, car) for owner in OWNERS[name] for car in CARS[name]]
        lines = []
        for owner, car in rng.sample(pairs, count):
            number += 1
            lines.append(json.dumps(make_card(rng, number, owner, car)) + "\n")
        (Path(__file__).parent / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
