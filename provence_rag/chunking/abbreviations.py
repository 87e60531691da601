"""Abbreviations that Punkt's parameters lack, or that it cannot judge, by language.

Written without the last full stop; parts are joined ("z.b" is "z. B."). One in lower case stands for any
case, a capitalised one only for itself: "Sat." is a day, "sat." a word. Those that only ever stand before a
lower-case word are not here: no sentence begins with one.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ABBREVIATIONS", "STARTERS", "Abbreviations"]


class Abbreviations(NamedTuple):
    """Those of one language."""

    before_words: frozenset[str] = frozenset()
    """No sentence ends with these: something belongs to them."""

    before_numbers: frozenset[str] = frozenset()
    """No sentence ends with these before a number or an initial; otherwise they are words like any other."""

    anywhere: frozenset[str] = frozenset()
    """These may end a sentence: the next word decides."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ABBREVIATIONS = {
    "en": Abbreviations(
        before_words=_words(
            "mr mrs ms mx messrs mmes dr drs prof profs Rev Hon Gen Lt Col Maj Capt Cmdr Sgt Cpl Pvt Adm "
            "Gov Sen Rep Reps Sens Pres Supt Insp Det Amb mt mts Msgr cf viz vs v i.e e.g ca approx esp "
            "incl resp n° pp p.s rel Pt Suppl Atty Fed Cong attn dx rx hx tx"
        ),
        before_numbers=_words(
            "no nos nr n p ed eds rev Br Arg Proc Sess Tit Bull Com pt pts ch chap chs sec secs sect "
            "sects art arts vol vols fig figs tab tabs tbl eq eqs eqn ex exh ref refs para paras cl dist "
            "stat reg rul supp suppl app cir ct ver tel ext fax mob min max op amend Rec Ed Sat Sun Mon "
            "Tue Tues Wed Thu Thur Thurs Fri Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec"
        ),
        anywhere=_words(
            "inc corp co ltd llc bros jr sr esq etc al ibid St Ft ave blvd rd hwy apt bldg Dept Assn "
            "ass'n dep't gov't int'l nat'l comm'n comm'r att'y Civ Crim Evid Bankr Cir Dist Ct Supp App "
            "Rptr Rec deg Am Elec Mfg Mfr Prods Servs Tech Techs Sys Consol Mktg Indus Ins Fin Soc Comp "
            "Const Constr Pharm Pharms Hosp Univ Inst Int Nat Pub Transp Pac Penn Wm Chas Geo Jas Jos "
            "Robt Thos Defs Pls Com Ala Ariz Ark Cal Colo Conn Del Fla Ga Ill Ind Kan Ky La Mass Md Mich "
            "Minn Mo Mont Neb Nev Okla Ore Pa Tenn Tex Va Vt Wash Wis Wyo"
        ),
    ),
    "de": Abbreviations(
        before_words=_words(
            "z.b d.h u.a i.d.r v.a z.t i.a m.e bzw ca vgl evtl ggf inkl exkl sog insb bspw zzgl abzgl dr "
            "prof dipl ing st mind einschl i.s i.v.m i.s.d z.hd i.h.v gem"
        ),
        before_numbers=_words("s nr art abs abb tab bd kap rn z ziff lit tel max min"),
        anywhere=_words("usw etc u.s.w s.o s.u o.ä u.ä n.chr v.chr co jh jhd Str"),
    ),
    "fr": Abbreviations(
        before_words=_words(
            "mm mme mmes mlle mlles mgr dr ste c.-à-d c.à.d cf p.ex env éd réf approx M Me St"
        ),
        before_numbers=_words("n no p pp l r d art al chap vol fig bd av tél arr t ch max min"),
        anywhere=_words("etc com civ crim cass j.-c apr.j.-c av.j.-c ibid cit"),
    ),
    "es": Abbreviations(
        before_words=_words(
            "sr sra srta sres dr dra prof lic p.ej ee avda aprox cf gral fr sta sto núm núms pág págs"
        ),
        before_numbers=_words("p pp n no nº art arts cap vol fig tel l r máx mín"),
        anywhere=_words("etc ee.uu a.c d.c s.a ud uds cía ltda a.m p.m"),
    ),
    "it": Abbreviations(
        before_words=_words(
            "sig sigg sig.ra sig.na dott dott.ssa prof prof.ssa avv geom p.es ad.es cfr sec pag pagg d.l "
            "d.lgs gent.mo spett"
        ),
        before_numbers=_words("p pp n nn art artt cap vol fig tab tel l co max min"),
        anywhere=_words("ecc etc a.c d.c s.p.a s.r.l c.c c.p es"),
    ),
    "pt": Abbreviations(
        before_words=_words("sr sra srs sras dr dra prof profa exmo exma p.ex pág págs núm aprox cf v.g i.e"),
        before_numbers=_words("p pp n no nº art arts cap vol fig tab tel av l r min máx inc al"),
        anywhere=_words("etc a.c d.c s.a ltda e.u.a"),
    ),
    "ru": Abbreviations(
        before_words=_words(
            "т.е т.к т.н т.о т.ч напр см ср гл рис табл стр им ул проф акад доц тов гр пер просп наб обл"
        ),
        before_numbers=_words("с ст п пп тел доб № л д кв г ок"),
        anywhere=_words("гг вв в г тыс млн млрд руб коп т.д т.п др пр мин сек н.э до.н.э"),
    ),
    "nl": Abbreviations(
        before_words=_words(
            "dhr mevr dr drs ir prof bijv b.v d.w.z m.a.w o.a i.v.m m.b.t t.a.v t.o.v z.g ca vgl"
        ),
        before_numbers=_words("p nr art blz fig tel"),
        anywhere=_words("enz etc e.d v.chr n.chr a.s"),
    ),
}
"""ISO 639-1 code -> abbreviations."""

STARTERS = {
    "en": _words(
        "the this that these those it its he she they we you his her their our your there here what who "
        "whom whose which when where why how if although though while because since however therefore "
        "moreover furthermore thus hence then after before during until once in on at by for from with "
        "without under over as to but and so yet also please let do does did is are was were can could "
        "would should will may might not no yes each every some many most several both all another other "
        "such none a an i i'm it's that's there's i've don't let's meanwhile instead"
    ),
    "de": _words(
        "der die das dies diese dieser dieses er sie es wir ihr ein eine einen im in am an auf bei mit "
        "nach von vor zu zum zur aber und oder doch wenn als da dann dort hier jetzt so auch nur wer was "
        "wann wo warum wie"
    ),
    "fr": _words(
        "le la les l un une des il elle ils elles on nous vous je ce cette ces cet c'est dans en au aux "
        "pour par sur avec mais et ou donc or si quand comme qui que où"
    ),
    "es": _words(
        "el la los las un una unos unas él ella ellos ellas se en de por para con sin pero y o si cuando "
        "como este esta estos estas ese esa su sus no"
    ),
    "it": _words(
        "il lo la i gli le un una in nel nella di da per con ma e o se quando come questo questa è si non"
    ),
    "pt": _words(
        "o a os as um uma ele ela eles elas em no na de por para com mas e ou se quando como este esta não"
    ),
    "ru": _words("в на и но а он она они мы вы я это этот эта эти если когда как что по для из с не также"),
    "nl": _words(
        "de het een hij zij ze wij we dit dat deze die er in op van voor met maar en of als toen hoe wat waar"
    ),
}
"""ISO 639-1 code -> words that begin a sentence when an abbreviation before them may end one."""
