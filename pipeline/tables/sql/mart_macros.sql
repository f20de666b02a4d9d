-- What marts share: intervals, tests and prices. A sample is one of sessions: the pulls of one session may resemble each other, so what an
-- interval rests on is how sessions differ, not items. `y` is a session's sum of something, `m` its number of pulls;
-- the macros that take them are aggregates over sessions. benchmarks/coverage.py measures how often they hold.

-- Bounds of the Wilson 95 % interval of `hits` in `n` (Wilson, 1927). NULL when n is 0: greatest and least would pass
-- over a NULL. Rounding must not take a bound past a share of 0 or 1.
CREATE TEMP MACRO wilson_centre(hits, n) AS (hits + 1.959963984540054 ^ 2 / 2) / (n + 1.959963984540054 ^ 2);
CREATE TEMP MACRO wilson_half(hits, n) AS
    1.959963984540054 / (n + 1.959963984540054 ^ 2) * sqrt(hits * (n - hits) / nullif(n, 0) + 1.959963984540054 ^ 2 / 4);
CREATE TEMP MACRO wilson_low(hits, n) AS
    CASE WHEN n > 0 THEN CASE WHEN hits = 0 THEN 0 ELSE wilson_centre(hits, n) - wilson_half(hits, n) END END;
CREATE TEMP MACRO wilson_high(hits, n) AS
    CASE WHEN n > 0 THEN CASE WHEN hits = n THEN 1 ELSE wilson_centre(hits, n) + wilson_half(hits, n) END END;

-- The 97.5 % point of Student's t, by Cornish and Fisher's expansion around the normal one; true to 0.0001 from 20
-- degrees of freedom on.
CREATE TEMP MACRO t_975(df) AS 1.959963984540054 + 2.372271 / df + 2.822548 / df ^ 2 + 2.555850 / df ^ 3;

-- Below so many sessions no interval of a median or a mean is given.
CREATE TEMP MACRO are_enough(session_count) AS session_count >= 100;

CREATE TEMP MACRO ratio_mean(y, m) AS sum(y)::DOUBLE / nullif(sum(m), 0)::DOUBLE;
-- Sum of the squared, and of the cubed, residuals y - ratio_mean * m.
CREATE TEMP MACRO residuals_2(y, m) AS
    sum(y * y) - 2 * ratio_mean(y, m) * sum(y * m) + ratio_mean(y, m) ^ 2 * sum(m * m);
CREATE TEMP MACRO residuals_3(y, m) AS
    sum(y * y * y) - 3 * ratio_mean(y, m) * sum(y * y * m) + 3 * ratio_mean(y, m) ^ 2 * sum(y * m * m)
    - ratio_mean(y, m) ^ 3 * sum(m * m * m);
-- Standard error of ratio_mean when sessions are what was drawn (Cochran, Sampling Techniques, 1977, chapter 6).
CREATE TEMP MACRO clustered_error(y, m) AS
    sqrt(greatest(residuals_2(y, m), 0) * count(*) / nullif(count(*) - 1, 0)) / nullif(sum(m), 0);

-- Bounds of the 95 % interval of ratio_mean: Student's t, with Hall's (1992) transformation to remove skewness, for
-- without it the upper bound of a mean that rests on few high values is too low. `skew` is the residuals' skewness over
-- the root of the number of sessions.
CREATE TEMP MACRO skew(y, m) AS
    coalesce(residuals_3(y, m) / nullif(greatest(residuals_2(y, m), 0), 0) ^ 1.5, 0);
CREATE TEMP MACRO unskewed(t, skew) AS
    CASE WHEN abs(skew) < 1e-9 THEN t ELSE (cbrt(1 + skew * (t - skew / 6)) - 1) * 3 / skew END;
CREATE TEMP MACRO mean_low(y, m) AS
    ratio_mean(y, m) - clustered_error(y, m) * unskewed(t_975(nullif(count(*) - 1, 0)), skew(y, m));
CREATE TEMP MACRO mean_high(y, m) AS
    ratio_mean(y, m) - clustered_error(y, m) * unskewed(-t_975(nullif(count(*) - 1, 0)), skew(y, m));

-- The rank of the value that is the lower bound of a median's 95 % interval (Woodruff, 1952), of `n` values;
-- `share_error` is the clustered error of the share of values up to the median, 1 / (2 * sqrt(n)) where they are
-- independent. The upper bound's rank is as far from the other end. No shape of distribution is assumed.
CREATE TEMP MACRO median_low_rank(n, share_error) AS
    greatest(1, floor((n + 1) / 2 - 1.959963984540054e0 * n * share_error))::BIGINT;

-- The probability of k hits among n, each with probability p.
CREATE TEMP MACRO log_choose(n, k) AS lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1);
CREATE TEMP MACRO binomial_log(k, n, p) AS log_choose(n, k)
    + CASE WHEN k = 0 THEN 0 ELSE k * ln(p) END + CASE WHEN k = n THEN 0 ELSE (n - k) * ln(1 - p) END;
-- How far from the mean a sum over counts of hits must go so that what it leaves out is nothing beside what it has.
CREATE TEMP MACRO binomial_reach(hits, n, p) AS
    ceil(greatest(10 * sqrt(n * p * (1 - p)), 1.5 * abs(hits - n * p)) + 50)::BIGINT;
-- Two-sided p-value of the exact binomial test: the probability of all counts that are no likelier than the one seen.
-- The tolerance keeps a count that is exactly as likely from being lost to rounding.
CREATE TEMP MACRO binomial_p_value(hits, n, p) AS CASE
    WHEN hits IS NULL OR n IS NULL OR p IS NULL THEN NULL
    WHEN p <= 0 OR p >= 1 THEN (hits = n * p)::INTEGER::DOUBLE
    WHEN binomial_log(hits, n, p) < -745 THEN 0  -- less than any double
    ELSE least(1.0::DOUBLE, list_sum(list_transform(
        list_filter(
            range(
                greatest(0, floor(n * p)::BIGINT - binomial_reach(hits, n, p)),
                least(n, ceil(n * p)::BIGINT + binomial_reach(hits, n, p)) + 1),
            lambda k: binomial_log(k, n, p) <= binomial_log(hits, n, p) + 1e-7),
        lambda k: exp(binomial_log(k, n, p))))) END;

-- What a session cost: as submitted, else the pack's known price for each pack bought, which is one a pull.
CREATE TEMP MACRO session_price(price_usd, pack_price_usd, quantity, pull_count) AS
    coalesce(price_usd, TRY_CAST(pack_price_usd * coalesce(quantity, pull_count)::DECIMAL(18,0) AS DECIMAL(18,4)));

-- How many of the dearest values make half of their total; `running` is the sum of a value and of those dearer.
CREATE TEMP MACRO count_to_half(value, running, total) AS
    CASE WHEN any_value(total) > 0 THEN count(*) FILTER ((running - value) * 2 < total) END;
