"""Full stops that end no sentence, and full stops that do although no white space follows."""

from __future__ import annotations

import pytest

from provence_rag.chunking import MultilingualChunker


def cut(text: str, language: str) -> list[str]:
    return [sentence for sentence, _ in MultilingualChunker(language).chunk(text)]


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["It is governed by Fed. R. Civ. P. 12(b)(6), as amended.", "The judge was late."]),
        ("en", ["See Doe v. Roe, No. 11-204, at pp. 7 et seq. of the opinion.", "It holds."]),
        (
            "en",
            [
                "See 123 S.Ct. 2381, 16 Wall. 36 and Pub.L. No. 5 (rev. 4th ed. 1968).",
                "It is Fed.R.Civ.P. 12.",
            ],
        ),
        ("en", ["The act is § 101.", "Aereo denies it."]),
        ("en", ["He cites 28 U.S.C. § 1331 and Sec. 4 of the Act.", "So do we."]),
        (
            "en",
            [
                "Give two drops t.i.d. to the l. eye for approx. five days; pts. under 6 yrs. get one drop.",
                "Stop.",
            ],
        ),
        ("en", ["Keep the lid on for 12 min. before turning.", "Take max. 40 mg. per day."]),
        ("en", ["It was measured by Holm et al. (2019), cf. Fig. 3 and Tab. 2 there.", "Seals were seen."]),
        ("en", ["Call Tel. 555 1234, Ext. 12 on Mon. or Tue. from Jan. 3 on.", "We are in."]),
        ("en", ["I can see Mt. Fuji from here.", "I live in the U.S. How about you?"]),
        ("en", ["He came at 6 p.m. The door was shut.", "We saw Acme Inc. It was closed."]),
        ("en", ["The mRNA was read.", "pH values fell.", "iPhones sold well."]),
        (
            "en",
            ["Acme Bros. Inc., Exh. A, was heard by Atty. Gen. Brown.", "See Sect. 3 and Suppl. Fig. 2."],
        ),
        ("en", ["Call Tel. +44 20 7946 0000 by noon.", "We are in."]),
        ("en", ["Dx. Asthma was seen.", "Rx. Take two pills daily.", "Hx. None was given."]),
        ("de", ["Der 1. FC Köln spielt heute.", "Er wohnt im 2. Stock des Hauses.", "Gut."]),
        ("en", ["The gate is locked. ”", "Come back at nine."]),
        ("de", ["Der Tempel stammt aus dem 3. Jh. v. Chr. und steht.", "Er ist gut erhalten."]),
        ("it", ["Il testo è del sec. IV e di altri.", "Fine."]),
        ("de", ["Das Museum ist z. B. am Montag und u. a. an Feiertagen zu.", "Gut."]),
        ("de", ["Es gilt z. B. Paragraf 3, d. h. Abs. 2 Nr. 4 und i. d. R. mehr.", "Hunde nicht."]),
        ("fr", ["Le délai est fixé par l'art. L. 121-3 du C. com., al. 2.", "La salle était pleine."]),
        ("fr", ["Voir p. ex. M. Dupont, c.-à-d. le maire.", "Il est là."]),
        ("es", ["Vive en EE. UU. desde 1990.", "Véase p. ej. la pág. 4.", "El Sr. Ruiz llegó."]),
        ("it", ["Si veda l'art. 4, p. es. il comma 2.", "Il sig. Rossi è qui."]),
        ("pt", ["Veja p. ex. o art. 5 da lei.", "O Sr. Silva chegou."]),
        ("ru", ["Это верно, т. е. почти всегда.", "См. рис. 3 и стр. 4.", "Да."]),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0][:24],
)
def test_abbreviations(language: str, expected: list[str]) -> None:
    assert [part for sentence in expected for part in cut(sentence, language)] != []
    text = " ".join(expected)
    joined = cut(text, language)
    flat = [part for sentence in expected for part in _parts(sentence)]
    assert joined == flat


def _parts(sentence: str) -> list[str]:
    """Sentences that an ambiguous abbreviation ends are written as one string above."""
    for end, begin in (("U.S.", "How"), ("p.m.", "The"), ("Inc.", "It")):
        before, found, after = sentence.partition(f"{end} {begin} ")
        if found:
            return [f"{before}{end}", f"{begin} {after}"]
    return [sentence]


@pytest.mark.parametrize(
    "pieces",
    [
        ["The clinic opens at eight in the morning.", "The harbour is old.", "A market is held."],
        ["It was rebuilt in 1950.", "Fishing boats use it.", "It is closed."],
        ["Is it open?", "The door is!", "Come in."],
        ['He said "stay."', "They left."],
        ["They went to Paris.", "The city is big."],
        ["It is closed on Monday.", "Tickets cost five euros."],
        ["He resigned.", "(He was ill that day.)"],
        ["Take 2.5 mg.", "Patients should rest."],
    ],
    ids=lambda pieces: pieces[0],
)
def test_glued_sentences(pieces: list[str]) -> None:
    assert cut("".join(pieces), "en") == pieces


@pytest.mark.parametrize(
    "text",
    [
        "Visit example.com or docs.Example.com/About.Us now.",
        "Version v1.2 of Node.js and ASP.NET is e.g.x fine.",
        "Call os.Exit(1) or System.Collections.Generic there.",
        "It was Ph.D.Level work by J.Smith and A.B.Jones.",
        "Mail Jane.Doe@example.com at 3.30 today.",
        "Set that_is.Fine() or file.Name() in Node.Js on Booking.Com there.",
    ],
)
def test_names_are_not_cut(text: str) -> None:
    assert cut(text, "en") == [text]


@pytest.mark.parametrize(
    "expected",
    [
        [
            "It was visited in May.2",
            "In all 412 were ringed.[3]",
            "It left at noon.[citation needed]",
            "Rain fell.[4, 5]",
            "Done.6",
        ],
        ["It is so.¹²", "We know.†", "They said it.3,4", "Others did not.5-7", "It ends."],
    ],
    ids=["numbers", "signs"],
)
def test_reference_marks(expected: list[str]) -> None:
    assert cut(" ".join(expected), "en") == expected


def test_decimals_are_no_reference_marks() -> None:
    assert cut("See No.5 There and p.12 In it, by 4.2 Percent.", "en") == [
        "See No.5 There and p.12 In it, by 4.2 Percent."
    ]


def test_no_cut_before_lower_case() -> None:
    assert cut("The temp. was high and the press. was low. We left.", "en") == [
        "The temp. was high and the press. was low.",
        "We left.",
    ]
    assert cut("i like it. it is good.", "en") == ["i like it.", "it is good."]
