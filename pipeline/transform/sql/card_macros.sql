-- Rules that read card facts out of labels as vendors and marketplaces write them. Each takes the text as sent and gives
-- NULL where the text leaves room for doubt: the text itself stays in the column beside.

-- A grader's spellings and its usual abbreviation. Beckett's cards are graded under the name BGS, which is also how
-- the names of items call it.
CREATE TEMP MACRO graders() AS map {
    'PSA': 'PSA', 'CGC': 'CGC', 'BGS': 'BGS', 'BECKETT': 'BGS', 'SGC': 'SGC', 'TAG': 'TAG'
};
CREATE TEMP MACRO grader_spelling() AS array_to_string(map_keys(graders()), '|');

-- The words of a label, in capitals. Between letters, `-`, `/` and `,` are spaces (`GEM-MT`, `9.5-GEM`, `NM/MINT+`);
-- before and between digits they are not, since `-5`, `9/10` and `9,5` are something else than the numbers in them.
-- A grader's name may touch its grade (`PSA10`). A long text, an object or a list is no label.
CREATE TEMP MACRO label_text(t) AS CASE
    WHEN length(t) <= 100 AND left(trim(t), 1) NOT IN ('{', '[') THEN upper(regexp_replace(t, '[\s\pZ()]+', ' ', 'g')) END;
CREATE TEMP MACRO label_words(t) AS list_filter(
    string_split(
        regexp_replace(
            regexp_replace(
                regexp_replace(label_text(t), '^ ?(' || grader_spelling() || ')([0-9])', '\1 \2'),
                '([A-Z+])[-/,]+', '\1 ', 'g'),
            '[-/,]+([A-Z ]|$)', ' \1', 'g'),
        ' '),
    lambda w: w <> '');

-- The grader whose name a text begins with; NULL when it names a second one.
CREATE TEMP MACRO named_graders(words) AS list_filter(
    list_transform(words, lambda w: graders()[w]), lambda g: g IS NOT NULL);
CREATE TEMP MACRO grader_in(words) AS CASE
    WHEN len(list_distinct(named_graders(words))) = 1 THEN graders()[words[1]] END;

-- Grades run from 0 to 10 in halves, so that a year, a price or SGC's former scale of 100 is none. A word of digits
-- and letters is damage (`GEM-2MT 10` is a 10), and of two numbers (`MINT 9 AUTO 10`) none is sure to be the card's.
CREATE TEMP MACRO half_grade(n) AS CASE WHEN n BETWEEN 0 AND 10 AND n * 2 = floor(n * 2) THEN n END;
CREATE TEMP MACRO numbers_among(words) AS list_distinct(list_filter(
    words, lambda w: regexp_matches(w, '[0-9]') AND NOT regexp_matches(w, '\pL')));
CREATE TEMP MACRO grade_number_in(words) AS CASE
    WHEN len(numbers_among(words)) = 1 AND regexp_full_match(numbers_among(words)[1], '[0-9]{1,2}(\.[0-9]{1,2})?')
    THEN half_grade(TRY_CAST(numbers_among(words)[1] AS DOUBLE)) END;

-- The words of a grade in one spelling: `GEM-MT 10` and `Gem Mint 10` are GEM MINT, `NM/Mint+ 8.5` is NM MINT+. The same
-- number is worth more under some words than under others (PRISTINE, BLACK LABEL). One word that belongs to no
-- grading scale, and the label is not read.
CREATE TEMP MACRO grade_words(words) AS list_filter(
    words, lambda w: graders()[w] IS NULL AND NOT regexp_full_match(w, '[^\pL]*'));
CREATE TEMP MACRO one_spelling(phrase) AS regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(phrase,
    '\bMT\b', 'MINT', 'g'), '\bNEAR MINT\b', 'NM', 'g'), '\bEXCELLENT\b', 'EX', 'g'), '\bVERY GOOD\b', 'VG', 'g'),
    '\bAUTH\b', 'AUTHENTIC', 'g');
CREATE TEMP MACRO scale_words() AS
    '(GEM|MINT|PRISTINE|PERFECT|BLACK|LABEL|NM|EX|VG|GOOD|FAIR|POOR|AUTHENTIC|ALTERED)\+?';
CREATE TEMP MACRO grade_label_in(words) AS nullif(regexp_extract(
    one_spelling(array_to_string(grade_words(words), ' ')), '^(' || scale_words() || '( |$))+$'), '');

-- A certificate's number as its digits, without the leading zeros that a spreadsheet drops. It may follow a grader's
-- name, `Cert`, `No.` or `#`. What went through a float is whole while each digit is there (`85755951.0`, `8.5755951E7`);
-- in `1.40102E+12` most are lost. Fewer than five digits are a card's number, which some vendors call serial, too;
-- beyond fifteen a float holds no longer every digit.
CREATE TEMP MACRO bare_cert(t) AS regexp_extract(label_text(t),
    '^ ?((' || grader_spelling() || '|CERT|NUMBER|NO)[ .:-]*)*#? ?([0-9][^ ]*?) ?(' || grader_spelling() || ')? ?$', 3);
CREATE TEMP MACRO float_digits(t) AS CASE
    WHEN regexp_full_match(t, '[0-9]+\.0+') THEN regexp_extract(t, '^[0-9]+')
    WHEN regexp_full_match(t, '[1-9]\.[0-9]+E\+?[0-9]{1,2}')
        AND length(regexp_extract(t, '\.([0-9]+)', 1)) = TRY_CAST(regexp_extract(t, '[0-9]+$') AS INTEGER)
    THEN replace(regexp_extract(t, '^[0-9.]+'), '.', '') END;
CREATE TEMP MACRO cert_digits(t) AS CASE
    WHEN regexp_full_match(t, '[1-9][0-9]{4,14}') THEN t  -- nearly every other one
    ELSE nullif(regexp_extract(coalesce(float_digits(bare_cert(t)), bare_cert(t)), '^0*([1-9][0-9]{4,14})$', 1), '') END;

-- A year from 1850 up to the one after `latest`. Of a season (`1999-00`, `1999/2000`) it is the first, under which its
-- sets are known; other spans are no year.
CREATE TEMP MACRO season_start(t) AS CASE
    WHEN right((TRY_CAST(left(t, 4) AS INTEGER) + 1)::VARCHAR, length(t) - 5) = t[6:] THEN left(t, 4) END;
CREATE TEMP MACRO year_text(t) AS CASE
    WHEN regexp_full_match(t, '[0-9]{4}(\.0+)?') THEN left(t, 4)
    WHEN regexp_full_match(t, '[0-9]{4}[-/]([0-9]{2}|[0-9]{4})') THEN season_start(t) END;
CREATE TEMP MACRO within_years(y, latest) AS CASE WHEN y BETWEEN 1850 AND latest + 1 THEN y END;
CREATE TEMP MACRO year_number(t, latest) AS within_years(TRY_CAST(year_text(trim(label_text(t))) AS INTEGER), latest);

-- A print run. The text of a trait that is about nothing else may give it in any form: `/25`, `12/25`, `#/99`, `12 of 25`,
-- `Numbered to 25`.
CREATE TEMP MACRO run_number(t) AS nullif(TRY_CAST(t AS INTEGER), 0);
CREATE TEMP MACRO run_of_trait(t) AS CASE WHEN length(t) <= 100 THEN run_number(regexp_extract(lower(t),
    '^[\s#]*(?:numbered|limited|out)?[\s#]*(?:to|of)?[\s#]*(?:[0-9]{1,5}\s*(?:/|of))?[\s#]*/?\s*([0-9]{1,5})[\s.]*$', 1)) END;

-- In other texts `/25` alone, or `#/99`, is one unless it is a year, a grade or what comes with the card (`w/2`).
CREATE TEMP MACRO bare_runs(t) AS list_transform(
    regexp_extract_all(t, '(?:^|[\s(,|#]|#''?d ?|[a-z]{2})/([1-9][0-9]{0,4})(?:$|[\s),|])', 1), lambda m: run_number(m));
CREATE TEMP MACRO is_of_grader(t) AS regexp_matches(t, '\b(?:psa|cgc|bgs|beckett|sgc|tag|mint|mt)/[0-9]');
-- `12/25` is one where so many copies are usual and nothing speaks for the number of a card in its set, which games of
-- cards are numbered by. `10/10` may be a grade, `24/25` a season, `12/25/2024` is a date.
CREATE TEMP MACRO usual_runs() AS
    [1, 3, 5, 15, 20, 25, 30, 35, 40, 49, 50, 60, 65, 70, 75, 80, 85, 99, 100, 125, 149, 150, 175, 199, 200, 225, 249, 250, 275,
        299, 300, 349, 350, 399, 400, 449, 450, 499, 500, 599, 699, 750, 799, 899, 999, 1000];
CREATE TEMP MACRO is_of_game(t) AS regexp_matches(t,
    'pok.{1,4}mon|magic|gathering|\bmtg\b|yu-?gi-?oh|one piece|lorcana|digimon|dragon ?ball|flesh and blood|weiss|\btcg\b');
CREATE TEMP MACRO fractions(t) AS regexp_extract_all(t, '(?:^|[\s(,|#])([0-9]{1,5}/[1-9][0-9]{0,4})(?:$|[\s),|])', 1);
CREATE TEMP MACRO copy_of(fraction) AS TRY_CAST(split_part(fraction, '/', 1) AS INTEGER);
CREATE TEMP MACRO run_of(fraction) AS TRY_CAST(split_part(fraction, '/', 2) AS INTEGER);
CREATE TEMP MACRO is_run(fraction, of_game, card_number) AS
    fraction = '1/1'
    OR (NOT of_game
        AND copy_of(fraction) BETWEEN 1 AND run_of(fraction)
        AND run_of(fraction) <> copy_of(fraction) + 1
        AND list_contains(usual_runs(), run_of(fraction))
        AND coalesce(copy_of(fraction) <> TRY_CAST(regexp_extract(card_number, '^#?([0-9]{1,5})(?:/[0-9]+)?$', 1) AS INTEGER), true));
CREATE TEMP MACRO runs_in(t, category, card_number) AS list_distinct(
    list_filter(
        CASE WHEN is_of_grader(t) THEN [] ELSE bare_runs(t) END,
        lambda n: n NOT BETWEEN 1900 AND 2099)
    || list_transform(
        list_filter(fractions(t), lambda f:
            is_run(f, is_of_game(t) OR coalesce(is_of_game(lower(category)), false), card_number)),
        lambda f: run_of(f)));
-- Of two numbers neither is sure to be the card's. Few texts have a `/`, which is cheaply told.
CREATE TEMP MACRO run_in_text(t, category, card_number) AS CASE WHEN regexp_matches(t, '/[1-9]') AND length(t) <= 400
    AND len(runs_in(lower(t), category, card_number)) = 1 THEN runs_in(lower(t), category, card_number)[1] END;

-- What a card is insured for, in dollars: `110`, `$1,250.00`, `US$ 90`, `90 USD`. Other currencies are not converted.
CREATE TEMP MACRO dollars(t) AS CASE WHEN NOT regexp_matches(replace(t, '$', ''), '\p{Sc}') THEN
    number_in(regexp_replace(upper(t), '^\s*USD?\s*(\$|[0-9])|\s*USD\s*$', '\1', 'g')) END;
CREATE TEMP MACRO insured_usd(t) AS CASE WHEN length(t) <= 100 AND dollars(t) >= 0 AND dollars(t) < 1e11 THEN
    TRY_CAST(dollars(t) AS DECIMAL(18,4)) END;
