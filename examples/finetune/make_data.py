"""Makes the job cards of a car workshop, in its mechanics' shorthand: `train.jsonl` and `test.jsonl`.

Everything in them is made up, from `notes.yaml`. The two files have different cards, cars and owners.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
NOTES = yaml.safe_load((HERE / "notes.yaml").read_text(encoding="utf-8"))
OWNERS = {
    "train": "Abbott Banerjee Clarke Duarte Ellis Farooq Greene Hussain Ibrahim Jones Kaur Lewis Murphy "
    "Novak Okafor Patel Quinn Roberts Singh Taylor",
    "test": "Adeyemi Bailey Cooper Dixon Usman Vaughan Walker Xu Young Zielinski",
}
CARS = {
    "train": "Fiesta Corsa Golf Astra Polo Clio Micra Yaris Focus Mini",
    "test": "Civic Jazz Fabia Ibiza Panda",
}


def make_card(rng: random.Random, number: int, owner: str, car: str) -> dict[str, Any]:
    """A card of six to nine notes, with questions about three of them."""
    kinds = rng.sample(list(NOTES), rng.randint(6, 9))
    asked = set(rng.sample(kinds, 3))
    text = f"Job {number}, {owner}, {car}."
    questions = []
    for kind in kinds:
        numbers = {"n": rng.randint(2, 8), "m": rng.randint(2, 8), "k": rng.randint(14, 45)}
        note = rng.choice(NOTES[kind]["notes"]).format(**numbers, s=rng.choice(["NS", "OS"]))
        start = len(text) + 1
        text += f"\n{note[0].upper()}{note[1:].removesuffix('.')}."
        if kind in asked:
            question = rng.choice(NOTES[kind]["questions"]).format(car=f"{owner}'s {car}")
            questions.append({"question": question, "answers": [{"start": start, "end": len(text)}]})
    return {"id": str(number), "lang": "en", "text": text, "questions": questions}


def main() -> None:
    """Write both files."""
    rng = random.Random(0)
    number = 1000
    for name, count in (("train", 200), ("test", 50)):
        pairs = [(owner, car) for owner in OWNERS[name].split() for car in CARS[name].split()]
        lines = []
        for owner, car in rng.sample(pairs, count):
            number += 1
            lines.append(json.dumps(make_card(rng, number, owner, car)) + "\n")
        (HERE / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
