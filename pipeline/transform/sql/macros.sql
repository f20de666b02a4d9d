-- Rules that several tables share. A JSON null arrives here as SQL NULL.

-- The kind of a JSON value, by the first character of its text, which is cheaper than asking the JSON reader.
CREATE TEMP MACRO json_kind(j) AS CASE left(j::VARCHAR, 1)
    WHEN '"' THEN 'string' WHEN '{' THEN 'object' WHEN '[' THEN 'array' WHEN 't' THEN 'boolean' WHEN 'f' THEN 'boolean'
    ELSE CASE WHEN coalesce(j::VARCHAR, 'null') = 'null' THEN 'null' ELSE 'number' END END;
CREATE TEMP MACRO with_article(kind) AS CASE WHEN left(kind, 1) IN ('a', 'o') THEN 'an ' ELSE 'a ' END || kind;
CREATE TEMP MACRO is_string(j) AS starts_with(j::VARCHAR, '"');
CREATE TEMP MACRO is_number(j) AS left(j::VARCHAR, 1) BETWEEN '-' AND '9';

-- A JSON string's text; NULL for every other kind of value.
CREATE TEMP MACRO json_text(j) AS CASE WHEN is_string(j) THEN j ->> '$' END;

-- Text with at least one character that can be seen. Most begins with one, which is cheaply told. Chains fill names and
-- ids up with NULs, which are dropped.
CREATE TEMP MACRO not_blank(t) AS CASE WHEN t BETWEEN '!' AND '~' OR regexp_matches(t, '[^\s\pZ\p{Cc}]') THEN
    CASE WHEN ends_with(t, chr(0)) THEN rtrim(t, chr(0)) ELSE t END END;

CREATE TEMP MACRO problem(rule, severity, field, detail, j) AS {
    'rule': rule, 'severity': severity, 'field': field, 'detail': detail, 'raw_value': left(j::VARCHAR, 200)
};

-- The finding with the pull that it is about, from 1; NULL where it is about the answer itself.
CREATE TEMP MACRO of_pull(p, pull_number) AS {
    'pull_number': pull_number::INTEGER, 'rule': p.rule, 'severity': p.severity, 'field': p.field, 'detail': p.detail,
    'raw_value': p.raw_value
};

CREATE TEMP MACRO missing_item_id(j) AS problem('missing_item_id', 'error', 'id', 'the item has no id', j);

-- A finding for a value that is there and is not text.
CREATE TEMP MACRO text_problem(field, j) AS CASE WHEN NOT is_string(j) THEN
    problem('unreadable_field', 'warning', field, with_article(json_kind(j)) || ' instead of text', j) END;

-- A finding for a value that is there and is not an object.
CREATE TEMP MACRO object_problem(field, document, path) AS CASE WHEN json_type(document, path) NOT IN ('OBJECT', 'NULL') THEN
    problem('unreadable_field', 'warning', field, with_article(json_kind(json_extract(document, path))) || ' instead of an object',
        json_extract(document, path)) END;

-- A price as decimal text. DuckDB reads JSON numbers as doubles, so the digits as sent come along in `exact`
-- where they are too many for one.
CREATE TEMP MACRO price_text(j, exact) AS CASE
    WHEN is_string(j) THEN trim(j ->> '$', E' \t\n\f\r')
    WHEN is_number(j) THEN coalesce(exact, j::VARCHAR) END;

-- Nearly every price: read by a plain cast. The rules below it are for the others.
CREATE TEMP MACRO is_plain_price(t) AS coalesce(regexp_full_match(t, '[0-9]{1,11}(\.[0-9]{1,10})?'), false);

CREATE TEMP MACRO is_decimal(t) AS coalesce(regexp_full_match(t, '[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?'), false);
CREATE TEMP MACRO is_zero(t) AS NOT regexp_matches(regexp_extract(t, '^[^eE]*'), '[1-9]');

-- DuckDB's cast reads exponents inexactly, so the point is moved in the text: the digits without the point, then
-- where the point belongs among them. Beyond thirty places to either side only the magnitude matters.
CREATE TEMP MACRO digits_of(t) AS replace(regexp_extract(t, '^[+-]?([0-9.]*)', 1), '.', '');
CREATE TEMP MACRO point_of(t) AS greatest(-30, least(30,
    length(regexp_extract(t, '^[+-]?([0-9]*)', 1))::BIGINT - length(regexp_extract(digits_of(t), '^0*'))
    + coalesce(TRY_CAST(regexp_extract(t, '[eE][+]?(-?[0-9]+)$', 1) AS INTEGER),
        CASE WHEN contains(lower(t), 'e-') THEN -1000000000 ELSE 1000000000 END)));
CREATE TEMP MACRO shifted(digits, point) AS CASE
    WHEN point <= 0 THEN '0.' || repeat('0', -point) || digits
    ELSE rpad(digits, greatest(point, length(digits))::INTEGER, '0')[:point] || '.' || digits[point + 1:] END;
CREATE TEMP MACRO plain(t) AS CASE
    WHEN NOT contains(lower(t), 'e') THEN t
    WHEN is_zero(t) THEN '0'
    ELSE CASE WHEN t[1] = '-' THEN '-' ELSE '' END || shifted(ltrim(digits_of(t), '0'), point_of(t)) END;
-- Digits after the tenth place cannot change the fourth: rounding half up looks at the fifth alone.
CREATE TEMP MACRO as_money(t) AS TRY_CAST(regexp_extract(plain(t), '^[+-]?[0-9]*\.?[0-9]{0,10}') AS DECIMAL(38,10));

CREATE TEMP MACRO price_problem(j, t) AS CASE
    WHEN j IS NULL OR is_plain_price(t) THEN NULL
    WHEN NOT is_decimal(t) THEN 'not a number'
    WHEN t[1] = '-' AND NOT is_zero(t) THEN 'negative'
    WHEN as_money(t) IS NULL OR as_money(t) >= 100000000000 THEN '10^11 or more'
END;

-- Rounded half up to four places, as the cast between decimals does; NULL where `price_problem` found something.
CREATE TEMP MACRO price_value(t, trouble) AS CASE
    WHEN is_plain_price(t) THEN t::DECIMAL(22,10)::DECIMAL(18,4)
    WHEN trouble IS NULL THEN abs(as_money(t))::DECIMAL(18,4) END;

CREATE TEMP MACRO finite(x) AS CASE WHEN isfinite(x) THEN x END;

-- The number in a text such as `$1,250.00`, `-3.5` or `1e5`; NULL for any other text.
CREATE TEMP MACRO number_in(t) AS CASE
    WHEN t BETWEEN 'A' AND 'z' THEN NULL  -- nearly every other text, told cheaply
    WHEN regexp_full_match(t, '\s*[0-9]{1,15}(\.[0-9]{1,15})?\s*') THEN TRY_CAST(t AS DOUBLE)
    WHEN regexp_full_match(t, '\s*([+-]?\s*\p{Sc}?\s*|\p{Sc}\s*[+-])([0-9]{1,3}(,[0-9]{3})+|[0-9]+)?(\.[0-9]*)?([eE][+-]?[0-9]+)?\s*\p{Sc}?\s*')
        AND regexp_matches(t, '[0-9]')
    THEN finite(TRY_CAST(regexp_replace(t, '[,\s\p{Sc}]', '', 'g') AS DOUBLE)) END;

-- An attribute's name: the first of the fields that name it.
CREATE TEMP MACRO trait(a) AS coalesce({{ trait_names }});

CREATE TEMP MACRO attribute(trait, v) AS {
    'trait_type': trait,
    'value': CASE WHEN is_string(v) THEN v ->> '$' ELSE v::VARCHAR END,
    'value_type': json_kind(v)
};
CREATE TEMP MACRO value_number(value, value_type) AS CASE value_type
    WHEN 'string' THEN number_in(value)
    WHEN 'number' THEN finite(TRY_CAST(value AS DOUBLE)) END;
CREATE TEMP MACRO attribute_of(e) AS attribute(
    coalesce({{ trait_texts }}), e.value);

-- Attributes come as a list of objects, of which entries that are no objects are left out, or as one object whose keys
-- are the traits.
CREATE TEMP MACRO attributes(a) AS CASE left(a::VARCHAR, 1)
    WHEN '{' THEN list_transform(map_entries(from_json(a, '"MAP(VARCHAR,JSON)"')), lambda e:
        attribute(e.key, e.value))
    WHEN '[' THEN list_transform(
        list_transform(
            list_filter(from_json(a, '["JSON"]'), lambda e: json_kind(e) = 'object'),
            lambda e: from_json(e, '{{ attribute_structure }}')),
        lambda e: attribute_of(e))
END;

-- The attributes with their numbers as in `exact`, the same attributes read out of `numbers_as_text`; NULL where no
-- number needs it.
CREATE TEMP MACRO with_exact_numbers(given, exact) AS CASE WHEN exact IS NULL THEN given ELSE
    list_transform(given, lambda a, n: {
        'trait_type': a.trait_type,
        'value': CASE WHEN a.value_type = 'number' THEN exact[n].value ELSE a.value END,
        'value_type': a.value_type
    }) END;

CREATE TEMP MACRO attribute_problems(a) AS CASE json_kind(a)
    WHEN 'null' THEN []
    WHEN 'object' THEN []
    WHEN 'array' THEN list_filter(
        list_transform(from_json(a, '["JSON"]'), lambda e, i: CASE WHEN json_kind(e) <> 'object' THEN
            problem('attribute_not_object', 'warning', 'content.metadata.attributes[' || (i - 1) || ']',
                with_article(json_kind(e)) || ' instead of an object; skipped', coalesce(e, 'null'::JSON)) END),
        lambda p: p IS NOT NULL)
    ELSE [problem('unreadable_field', 'warning', 'content.metadata.attributes',
        with_article(json_kind(a)) || ' instead of a list or an object', a)]
END;

-- An attribute of a plain answer, whose value is JSON text, or a number's own text in a list. Of text, which nearly every
-- value is, the kind is not noted.
CREATE TEMP MACRO plain_value(v) AS CASE
    WHEN contains(v, '\') THEN v::JSON ->> '$'
    WHEN v < '#' THEN substring(v, 2, length(v) - 2)
    WHEN starts_with(v, '[') THEN substring(v, 3, length(v) - 4)
    ELSE v END;
CREATE TEMP MACRO plain_attribute(a) AS {
    'trait_type': trait(a),
    'value': plain_value(a.value::VARCHAR),
    'value_type': CASE WHEN a.value::VARCHAR < '#' THEN NULL WHEN a.value IS NOT NULL THEN json_kind(ltrim(a.value::VARCHAR, '["')) END
};

-- An item without its attributes: of an answer whose values are read as what belongs there, and as JSON.
CREATE TEMP MACRO plain_item(x) AS {
    {{ plain_item }}
};
CREATE TEMP MACRO item(x, price) AS {
    {{ checked_item }}
};

-- What an answer's items are quoted at together, each price rounded before it is added; NULL where it is too much.
CREATE TEMP MACRO value_of(items) AS TRY_CAST(list_sum(list_transform(items, lambda x: x.buyback_price)) AS DECIMAL(18,4));

-- The number of items without a link to an image.
CREATE TEMP MACRO unlinked(items) AS len(list_filter(items, lambda x: not_blank(x.links.image) IS NULL));

-- What is strange about an item: `price_trouble` is what `price_problem` found, `document` the item's own text, `i` its
-- position from 1.
CREATE TEMP MACRO item_problems(x, price_trouble, document, i) AS list_filter([
    CASE WHEN price_trouble IS NOT NULL THEN
        problem('unreadable_price', 'error', 'buyback_price', price_trouble, x.buyback_price) END,
    CASE WHEN x.id IS NULL OR (is_string(x.id) AND not_blank(json_text(x.id)) IS NULL) THEN
        missing_item_id(x.id) END,
    {{ item_text_problems }},
    CASE WHEN x.id IS NULL THEN object_problem('nfts[' || (i - 1) || ']', document, '$') END,
    {{ item_object_problems }}
], lambda p: p IS NOT NULL) || attribute_problems(x.content.metadata.attributes);

-- Whether escapes may stand for plain letters, in a key as well.
CREATE TEMP MACRO has_escaped_letters(text) AS regexp_matches(text, '\\u00[4-7]');

-- Whether an answer has repeated keys. Earlier versions did not store it as such, but in this sentence.
CREATE TEMP MACRO repeats_keys(has_repeated_keys, detail) AS coalesce(
    has_repeated_keys, detail = 'keys are repeated; of each, the last counts', false
);

-- Whether the API key stands in a text in another spelling, by the pattern that the builder knows; polling takes the key
-- out of what it stores, so only older answers can hold one.
CREATE TEMP MACRO holds_key(text) AS coalesce(
    contains(text, '\u00') AND regexp_matches(text, getvariable('spelled_key')::VARCHAR), false
);

-- The numbers that DuckDB, which reads JSON numbers as doubles, would write otherwise than they were sent: those with
-- an exponent, of sixteen signs or more, with five places or a further zero behind the point, and the integer -0.
CREATE TEMP MACRO inexact_number() AS '-?[0-9]+(?:[.0-9]*[eE]|[.0-9]{15}|\.[0-9]{5}|\.[0-9]+0)|-0[^.0-9]';

CREATE TEMP MACRO has_inexact_number(text) AS regexp_matches(text, '"\s*:\s*(?:' || inexact_number() || ')');

-- Whether a text begins with a colon and a number, so that its opening quote looks like the end of a key; a key that ends
-- in punctuation may match, too.
CREATE TEMP MACRO seems_to_end_a_key(text) AS regexp_matches(text, '[,\[{:]\s*"\s*:\s*-?[0-9]');

-- The document with each number that follows a key as a string. Inside of strings a quote follows an odd number of
-- backslashes, so none is mistaken for the end of a key; `answers` has no opening quote that looks like one.
CREATE TEMP MACRO numbers_as_text(text) AS
    regexp_replace(text, '([^\\](?:\\\\)*"\s*:\s*)(-?[0-9][-+.0-9eE]*)', '\1"\2"', 'g');

-- Whether an answer is sure to have no strange value, told from its text by patterns that a strange one cannot but
-- match; an ordinary one may match, too, and is then only read with more care. What follows a key of ours, at whatever
-- level: text or null where text belongs, an id that begins with a visible character, an object, a list of objects, a
-- price of up to five places before the point and nine behind it, which a double holds exactly. A trait's value may be
-- a number or a boolean as well, but not `other_value`. What follows an object in a list is another one. One pattern for
-- all keys takes half the time of one for each.
CREATE TEMP MACRO is_plain(text, other_value) AS NOT regexp_matches(text, '"(?:'
    || '(?:{{ text_keys }})"\s*:\s*[^"n\s]'
    || '|(?:{{ value_keys }})"\s*:\s*(?:[^"ntf0-9\s-]|' || other_value || ')'
    || '|(?:{{ id_keys }})"\s*:\s*(?:n|"[^!-~]|"["\\])'
    || '|(?:{{ object_keys }})"\s*:\s*[^{\s]'
    || '|(?:{{ items_keys }})"\s*:\s*\[\s*[^{\s]|(?:{{ attributes_keys }})"\s*:\s*(?:[^\[n\s]|\[\s*[^{\]\s])'
    || '|(?:{{ price_keys }})"\s*:\s*(?:[^"0-9n\s]|"[^0-9]|"?[0-9]{6}|"?[0-9]+(?:\.[0-9]{10}|\.?[0-9]*[^0-9.,}"\s]|\.[0-9]*\.)|"[0-9]+(?:\.?[0-9]*[^0-9."]|\."))'
    || ')'
) AND NOT regexp_matches(text, '\}\s*,\s*(?:[^"{\s]|"(?:[^"\\]|\\.)*"\s*[,\]}])') AND NOT has_escaped_letters(text);

-- The text of an answer as one call can read it; NULL unless it is plain. Where digits of a trait's value would change, its
-- numbers stand in it as text, in a list, which no value of a plain answer is.
CREATE TEMP MACRO plain_text(text) AS CASE
    WHEN is_plain(text, inexact_number()) THEN text
    WHEN is_plain(text, '[{[]') THEN regexp_replace(text, '"value"\s*:\s*(-?[0-9][-+.0-9eE]*)', '"value":["\1"]', 'g') END;

-- The objects of an answer whose fields the API's reference page documents, and where each is.
CREATE TEMP MACRO objects_in(found, parent) AS list_transform(found, lambda o: {'parent': parent, 'object': o});
CREATE TEMP MACRO documented_objects(answer) AS
    {{ documented_objects }};

CREATE TEMP MACRO unknown_keys(object, parent) AS CASE WHEN json_type(object) = 'OBJECT' THEN
    list_filter(json_keys(object), lambda k: NOT list_contains(CASE parent
        {{ known_keys }}
    END, k)) END;

-- Whether a JSON structure leaves keys out: where values of several kinds meet, or an object is empty, it only says
-- that there is JSON. Under a trait's value nothing is documented.
CREATE TEMP MACRO hides_fields(shape) AS contains(replace(shape, '"value":"JSON"', ''), '"JSON"');

-- The UTC day of a moment. A cast of the moment itself asks the calendar of time zones, for ten times as long.
CREATE TEMP MACRO utc_day(t) AS make_timestamp(epoch_us(t))::DATE;

-- The minute of a moment, counted from 1970, by which days are cut into parts, and the moment at which one starts.
CREATE TEMP MACRO utc_minute(t) AS epoch_us(t) // 60000000;
CREATE TEMP MACRO start_of_minute(minute) AS make_timestamptz(minute::BIGINT * 60000000);

-- The start of the part that a query derives; the builder sets it.
CREATE TEMP MACRO part_start() AS start_of_minute(getvariable('part_start'));

-- A sum of money; NULL where it is too large for the type.
CREATE TEMP MACRO total(x) AS TRY_CAST(sum(x) AS DECIMAL(18,4));

-- The value of the first of some traits, by the order of their names, then of the attributes.
CREATE TEMP MACRO first_trait(value, trait, attribute_number, names) AS
    arg_min(value, (list_position(names, trait), attribute_number)) FILTER (list_contains(names, trait));

-- A quote behind what tells pulls of an item in order of time: the earliest is the least, the latest the greatest.
CREATE TEMP MACRO quoted_pull(pulled_at, resolved_at, session_id, pull_number, buyback_price_usd) AS {
    'pulled_at': pulled_at, 'resolved_at': resolved_at, 'session_id': session_id, 'pull_number': pull_number,
    'buyback_price_usd': buyback_price_usd
};

-- When a purchase was initiated, or an item sold; NULL where that cannot be: before 2015, or more than a day after the
-- record of it was submitted.
CREATE TEMP MACRO plausible_time(moment, submitted_at) AS CASE
    WHEN epoch_us(moment) BETWEEN 1420070400000000 AND epoch_us(submitted_at) + 86400000000 THEN moment END;
-- From when on latencies count.
CREATE TEMP MACRO started_at(initiated_at, submitted_at) AS coalesce(plausible_time(initiated_at, submitted_at), submitted_at);

-- The columns that a rejection names: each of its faults begins with one, where it is about one.
CREATE TEMP MACRO faulty_fields(reason) AS nullif(array_to_string(regexp_extract_all(reason,
    '(?:^|; )(session_id|initiated_at|pack_id|price_usd|quantity|user_id|item_id|sold_at|amount_usd|name|buyback_percent|fmv_low_usd|fmv_high_usd|weight|valid_from) (?:is|has|cannot|comes|differs) ',
    1), ', '), '');

-- What a later submission says otherwise than the first one did.
CREATE TEMP MACRO difference(field, first_value, later_value) AS CASE
    WHEN later_value IS NOT NULL AND later_value IS DISTINCT FROM first_value THEN {
        'field': field,
        'detail': left(later_value::VARCHAR, 200) || ' instead of ' || coalesce(left(first_value::VARCHAR, 200), 'none'),
        'raw_value': later_value::VARCHAR
    } END;

-- Where a submitted row is found: in a database by its cursor, in a file by its number.
CREATE TEMP MACRO submitted_row(source_file, row_number, source_cursor) AS source_file || CASE
    WHEN source_cursor IS NOT NULL THEN ', cursor ' || source_cursor
    WHEN row_number = 0 THEN ''
    ELSE ' row ' || row_number END;

-- How often something was seen, and between when.
CREATE TEMP MACRO occurrences(n, first_at, last_at) AS
    n || CASE n WHEN 1 THEN ' occurrence' ELSE ' occurrences' END
    || strftime(first_at, ', first seen %Y-%m-%d %H:%M:%S') || strftime(last_at, ', last seen %Y-%m-%d %H:%M:%S UTC');
