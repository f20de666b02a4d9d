"""Card facts of `items`: what is read out of labels, what is refused, and that no label stops a build."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import payloads
from tests.support.card_facts import NAME, RESOLVED_AT, SHARE_WANTED, published, read

pytestmark = pytest.mark.one_python
GRADERS = {"PSA": "PSA", "CGC": "CGC", "BGS": "BGS", "Beckett": "BGS", "SGC": "SGC", "TAG": "TAG"}
SCALE = ["GEM", "MINT", "PRISTINE", "PERFECT", "BLACK", "LABEL", "NM", "EX", "VG", "GOOD", "FAIR", "POOR"]
DAMAGED_CERT = re.compile(r"[0-9.]+E\+[0-9]+")


@pytest.mark.parametrize("folder", payloads.FOLDERS)
def test_nearly_all_grades_and_graders_of_cards_are_parsed_and_as_their_names_say(folder, api, record_property):
    sent = [json.loads(line)["nft"]["content"]["metadata"] for line in payloads.lines_of(folder, "card_items")]
    cards = [{a["trait_type"]: a["value"] for a in metadata["attributes"]} for metadata in sent]
    items = published(api, cards)
    shares = {}
    for parsed, text in (
        ("grader", "grading_company"),
        ("grade_number", "grade"),
        ("grade_label", "grade"),
        ("cert_digits", "cert_number"),
        ("year_number", "year"),
    ):
        given_items = [item for item in items if item[text] is not None]
        read_items = [item for item in given_items if item[parsed] is not None]
        shares[parsed] = len(read_items) / len(given_items)
        refused = sorted({item[text] for item in given_items if item[parsed] is None})
        record_property(
            f"{parsed}, {folder.name}", f"{len(read_items)} of {len(given_items)} parsed; refused: {refused or 'none'}"
        )
    assert min(shares["grader"], shares["grade_number"]) >= SHARE_WANTED
    for metadata, card, item in zip(sent, cards, items, strict=True):
        assert (item["grading_company"], item["grade"]) == (card["Grader"], card["Grade"])
        assert (item["cert_number"], item["year"]) == (card["Cert Number"], card["Year"])
        named = re.search(r"\b(PSA|CGC|BGS|TAG) +([0-9]+(?:\.[0-9])?)(?![0-9.])", metadata["name"])
        if named:  # two names are cut inside the grade
            assert (item["grader"], item["grade_number"]) == (named[1], float(named[2])), metadata["name"]
        assert str(item["year_number"]) == metadata["name"][:4]
        is_damaged = DAMAGED_CERT.fullmatch(card["Cert Number"])
        assert item["cert_digits"] == (None if is_damaged else card["Cert Number"].lstrip("0"))


GRADES = {
    "GEM-MT 10": (10, "GEM MINT"),
    "Gem Mint 10": (10, "GEM MINT"),
    "9.5-GEM MINT": (9.5, "GEM MINT"),
    "NM/Mint+ 8.5": (8.5, "NM MINT+"),
    "NM MT+ 8.5": (8.5, "NM MINT+"),
    "NEAR MINT-MINT 8": (8, "NM MINT"),
    "Very Good (3)": (3, "VG"),
    "10-Pristine Black Label": (10, "PRISTINE BLACK LABEL"),
    "PSA 10.0": (10, None),
    "BGS9.5": (9.5, None),
    " 10\u00a0": (10, None),
    "0": (0, None),
    "Mint, 9": (9, "MINT"),
    # Damage within the words leaves the number.
    "GEM-2MT 10": (10, None),
    "M\ufffdNT 9": (9, None),
    "SHINY 9": (9, None),
    # No number, or none that is sure to be a grade.
    "AUTHENTIC": (None, "AUTHENTIC"),
    "11": (None, None),
    "MINT 1999": (None, "MINT"),
    "88": (None, None),
    "9.25": (None, None),
    "-5": (None, None),
    "MINT -9": (None, "MINT"),
    "$9": (None, None),
    "9%": (None, None),
    "9,5": (None, None),
    "9/10": (None, None),
    "1e1": (None, None),
    "MINT 9 AUTO 10": (None, None),
    "9.5 (9/10/9.5/9.5)": (None, None),
    "GEM-2MT": (None, None),
    "\u0669": (None, None),
    '{"centering": 9 }': (None, None),
    "[9]": (None, None),
    "MINT 9" + " " * 100 + "x": (None, None),
    "N/A": (None, None),
}


@pytest.mark.parametrize(("sent", "expected"), GRADES.items())
def test_a_grade_has_its_number_and_its_words_or_neither_where_in_doubt(sent, expected, read_of):
    item = read_of("Grade", GRADES)[sent]
    assert item["grade"] == sent
    assert (item["grade_number"], item["grade_label"]) == expected


COMPANIES = {
    "PSA": "PSA",
    " psa ": "PSA",
    "PSA/DNA": "PSA",
    "Beckett": "BGS",
    "Beckett (BGS)": "BGS",
    "BGS": "BGS",
    "CGC Cards": "CGC",
    "SGC": "SGC",
    "TAG Grading": "TAG",
    "PSA or BGS": None,
    "not PSA": None,
    "PSALM": None,
    "P\u0405A": None,  # a Cyrillic letter in the middle
    "BVG": None,
    "10": None,
    '{"name":"PSA"}': None,
}


@pytest.mark.parametrize(("sent", "expected"), COMPANIES.items())
def test_a_grader_is_known_by_its_name_at_the_beginning_where_no_second_one_is_named(sent, expected, read_of):
    item = read_of("Grader", COMPANIES)[sent]
    assert item["grading_company"] == sent
    assert (item["grader"], item["grader_source"]) == (expected, expected and "grading_company")


def test_a_grader_is_read_from_the_grade_only_where_no_company_was_sent(connection):
    cards = [
        {"Grade": "PSA 9"},
        {"Grade": "Beckett 9.5"},
        {"Grade": "9"},
        {"Grader": "Other", "Grade": "PSA 9"},
        {"Grader": "CGC", "Grade": "PSA 9"},
        {"Grade": "MINT 9 PSA"},
    ]
    assert [(item["grader"], item["grader_source"]) for item in read(connection, cards)] == [
        ("PSA", "grade"),
        ("BGS", "grade"),
        (None, None),
        (None, None),
        ("CGC", "grading_company"),
        (None, None),
    ]


CERTS = {
    "107115742": "107115742",
    "1401014165016": "1401014165016",
    "0017795034": "17795034",
    "PSA 85755951": "85755951",
    "cgc6038937020": "6038937020",
    "#85755951": "85755951",
    "Cert No. 85755951": "85755951",
    "85755951 (PSA)": "85755951",
    "\u00a085755951 ": "85755951",
    # Through a float, and whole.
    "85755951.0": "85755951",
    "0085755951.00": "85755951",
    "8.5755951E7": "85755951",
    "1.401014165016e+12": "1401014165016",
    # Digits are lost, or may be.
    "1.40102E+12": None,
    "1.0711574E8": None,
    "8.57559510E7": None,
    "1E+9": None,
    "1.40102E+99": None,
    "85755951.5": None,
    "9" * 16: None,
    "9999999999999999.0": None,
    # No certificate's number.
    "NA": None,
    "173": None,
    "0000173": None,
    "00000000": None,
    "-85755951": None,
    "A1234567": None,
    "85755951 10": None,
    "85,755,951": None,
    "TG20/TG30": None,
    "https://psa.example/85755951": None,
    "[85755951]": None,
}


@pytest.mark.parametrize(("sent", "expected"), CERTS.items())
def test_a_cert_is_read_where_each_of_its_digits_is_there(sent, expected, read_of):
    item = read_of("Cert Number", CERTS)[sent]
    assert (item["cert_number"], item["cert_digits"]) == (sent, expected)


YEARS = {
    "1999": 1999,
    " 1999 ": 1999,
    "2024.0": 2024,
    "1850": 1850,
    "2027": 2027,
    "1999-00": 1999,
    "1999/2000": 1999,
    "2009-10": 2009,
    "1999-01": None,
    "1999-2003": None,
    "2026-01-02": None,
    "2028": None,
    "1849": None,
    "20222": None,
    "99": None,
    "'99": None,
    "-1999": None,
    "1999.5": None,
    "c. 1999": None,
    "1.999E3": None,
    "\u0661\u0669\u0669\u0669": None,
    "9999-10000": None,
}


@pytest.mark.parametrize(("sent", "expected"), YEARS.items())
def test_a_year_is_whole_and_from_1850_to_the_one_after_the_pull(sent, expected, read_of):
    item = read_of("Year", YEARS)[sent]
    assert (item["year"], item["year_number"]) == (sent, expected)


digits = st.text("0123456789", min_size=1, max_size=20)

pieces = st.one_of(
    digits,
    st.sampled_from([*GRADERS, *SCALE, *GRADES, *COMPANIES, *CERTS, *YEARS]),
    st.sampled_from(
        list(" -/.,+#()[]{}$%:'\"\\\x00\n\u00a0\u200b\u202e") + ["E+", "e", "e99999999999", "\ufffd", "\\1"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)

labels = st.lists(pieces, max_size=6).map("".join)

traits = st.dictionaries(
    st.sampled_from(["Grader", "Grading Company", "Grade", "GradeNum", "Cert Number", "Serial", "Year"]), labels
)


# Many cards at once: a query costs the same for one and for thirty.
@settings(max_examples=45, deadline=None, derandomize=True, database=None)
@given(st.lists(traits, min_size=10, max_size=30))
def test_whatever_a_label_says_the_facts_are_within_their_bounds_or_absent(connection, cards):
    items = read(connection, cards)
    assert len(items) == len(cards)
    for item in items:
        number, cert, year = item["grade_number"], item["cert_digits"], item["year_number"]
        assert number is None or (0 <= number <= 10 and number * 2 % 1 == 0 and f"{number:g}" in item["grade"])
        assert cert is None or re.fullmatch("[1-9][0-9]{4,14}", cert)
        assert cert is None or cert in re.sub("[^0-9]", "", item["cert_number"])
        assert year is None or (1850 <= year <= RESOLVED_AT.year + 1 and str(year) in item["year"])
        assert item["grader"] in {None, *GRADERS.values()}
        assert (item["grader"] is None) == (item["grader_source"] is None)
        named = item["grader"] and item[item["grader_source"]].upper()
        assert named is None or any(named.find(name.upper()) >= 0 for name in GRADERS)
        label = item["grade_label"]
        assert label is None or {word.rstrip("+") for word in label.split()} <= {*SCALE, "AUTHENTIC", "ALTERED"}


joined_labels = st.tuples(
    st.sampled_from(list(GRADERS)),
    st.integers(0, 20).map(lambda halves: f"{halves / 2:g}"),
    st.lists(st.sampled_from(SCALE), min_size=1, max_size=3),
    st.sampled_from([" ", "-", "/", "  ", " - "]),
    st.booleans(),
    st.sampled_from([str.upper, str.lower, str.title]),
)


@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(st.lists(joined_labels, min_size=10, max_size=30))
def test_grader_number_and_words_are_found_however_they_are_joined(connection, drawn):
    labels = [
        case(joint.join([name, number, *words] if ahead else [name, *words, number]))
        for name, number, words, joint, ahead, case in drawn
    ]
    items = read(connection, [{"Grade": label} for label in labels])
    for item, (name, number, words, *_) in zip(items, drawn, strict=True):
        assert (item["grader"], item["grade_number"], item["grade_label"]) == (
            GRADERS[name],
            float(number),
            " ".join(words),
        ), item["grade"]


def test_no_label_stops_a_build_and_numbers_are_read_as_texts_are(api):
    odd: list[Any]
    odd = [*GRADES, *COMPANIES, *CERTS, *YEARS, "x" * 100_000, "\ud800", "a\x00 9", None, True, {}, [], 1e300, -1]
    cards = [{"Grader": label, "Grade": label, "Cert Number": label, "Year": label} for label in odd]
    cards.append({})
    cards.append({"Grading Company": "PSA", "GradeNum": 9.5, "Grading ID": 85755951, "Year": 1999})
    items = published(api, cards)
    assert len(items) == len(cards)
    bare, last = items[-2:]
    facts = ("grading_company", "grader", "grade", "grade_number", "grade_label", "cert_digits", "year", "year_number")
    assert (bare["name"], {bare[fact] for fact in facts}) == (NAME, {None}), "a name is no source of facts"
    assert (last["grade"], last["cert_number"], last["year"]) == ("9.5", "85755951", "1999")
    assert (last["grade_number"], last["cert_digits"], last["year_number"]) == (9.5, "85755951", 1999)
