-- Each item counts once, with its latest values: repeated pulls do not raise its weight.
SELECT
    category,
    set_name,
    year_number,
    grader,
    grade_number,
    grade_label,
    count(*) AS item_count,
    sum(pull_count)::BIGINT AS pull_count,
    count(latest_buyback_price_usd) AS priced_item_count,
    quantile_cont(latest_buyback_price_usd::DECIMAL(18,6), 0.5)::DECIMAL(18,4) AS buyback_median_usd,
    max(max_buyback_price_usd) AS buyback_max_usd,
    count(*) FILTER (latest_buyback_price_usd IS NOT NULL AND insured_value_usd > 0) AS insured_item_count,
    total(CASE WHEN latest_buyback_price_usd IS NOT NULL AND insured_value_usd > 0 THEN insured_value_usd END) AS insured_value_usd,
    total(CASE WHEN insured_value_usd > 0 THEN latest_buyback_price_usd END)
        / nullif(total(CASE WHEN latest_buyback_price_usd IS NOT NULL AND insured_value_usd > 0 THEN insured_value_usd END), 0)
        AS insured_value_ratio
FROM items
WHERE coalesce(category, set_name, year_number::VARCHAR, grader, grade_label, grade_number::VARCHAR) IS NOT NULL
GROUP BY category, set_name, year_number, grader, grade_number, grade_label
ORDER BY category NULLS FIRST, set_name NULLS FIRST, year_number NULLS FIRST, grader NULLS FIRST, grade_number NULLS FIRST,
    grade_label NULLS FIRST
