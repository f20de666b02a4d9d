-- Intervals, tests and prices of the marts. The sampling unit is the session: pulls of one session may be correlated, so
-- intervals rest on the variation between sessions. `y` is a session's sum, `m` its number of pulls; macros that take them
-- aggregate over sessions. benchmarks/coverage.py measures the coverage of the intervals.

-- Bounds of the score interval of `hits` in `n` (Wilson, 1927), both of which may be fractions; `z` is its half-width in
-- standard errors. NULL if n is 0, since greatest and least ignore a NULL. The cases of 0 and n hits keep rounding from
-- moving a bound below 0 or above 1.
CREATE TEMP MACRO wilson_centre(hits, n, z) AS (hits + z ^ 2 / 2) / (n + z ^ 2);
CREATE TEMP MACRO wilson_half(hits, n, z) AS
    z / (n + z ^ 2) * sqrt(greatest(hits * (n - hits), 0) / nullif(n, 0) + z ^ 2 / 4);
CREATE TEMP MACRO wilson_low(hits, n, z) AS
    CASE WHEN n > 0 THEN CASE WHEN hits = 0 THEN 0 ELSE wilson_centre(hits, n, z) - wilson_half(hits, n, z) END END;
CREATE TEMP MACRO wilson_high(hits, n, z) AS
    CASE WHEN n > 0 THEN CASE WHEN hits = n THEN 1 ELSE wilson_centre(hits, n, z) + wilson_half(hits, n, z) END END;

-- The quantile of Student's t for the quantile z of the normal distribution, by the Cornish-Fisher expansion. Its error
-- at 97.5 % is at most 0.0001 from 20 degrees of freedom, and 0.003 from 5.
CREATE TEMP MACRO t_point(z, df) AS z + (z ^ 3 + z) / 4 / df + (5 * z ^ 5 + 16 * z ^ 3 + 3 * z) / 96 / df ^ 2
    + (3 * z ^ 7 + 19 * z ^ 5 + 17 * z ^ 3 - 15 * z) / 384 / df ^ 3;
CREATE TEMP MACRO z_975() AS 1.959963984540054e0;
CREATE TEMP MACRO z_950() AS 1.6448536269514722e0;
-- The upper quantile of the normal distribution for a tail probability p of at most 0.02, by Acklam's rational
-- approximation; its error is at most 0.000001.
CREATE TEMP MACRO tail_root(p) AS sqrt(-2 * ln(p));
CREATE TEMP MACRO z_above(p) AS -(((((-7.784894002430293e-03 * tail_root(p) - 3.223964580411365e-01) * tail_root(p)
        - 2.400758277161838e+00) * tail_root(p) - 2.549732539343734e+00) * tail_root(p) + 4.374664141464968e+00)
        * tail_root(p) + 2.938163982698783e+00)
    / ((((7.784695709041462e-03 * tail_root(p) + 3.224671290700398e-01) * tail_root(p) + 2.445134137142996e+00)
        * tail_root(p) + 3.754408661907416e+00) * tail_root(p) + 1);
-- Half-width in standard errors of k simultaneous 95 % intervals (Bonferroni).
CREATE TEMP MACRO z_of_all(k) AS CASE WHEN k > 1 THEN z_above(0.025e0 / k) ELSE z_975() END;
CREATE TEMP MACRO t_975(df) AS t_point(z_975(), df);

-- Minimum numbers of sessions for the interval of a mean and of a median.
CREATE TEMP MACRO are_enough_for_a_mean(session_count) AS session_count >= 100;
CREATE TEMP MACRO are_enough_for_a_median(session_count) AS session_count >= 30;

-- Sufficient sums over sessions for the macros below. They are additive over days, so the history is not read again.
CREATE TEMP MACRO session_sums(y, m) AS {
    'n': count(*), 'm': sum(m), 'm2': sum(m * m), 'm3': sum(m * m * m),
    'y': sum(y), 'y2': sum(y * y), 'y3': sum(y * y * y),
    'ym': sum(y * m), 'y2m': sum(y * y * m), 'ym2': sum(y * m * m)
};

-- The sums that shares need, from rows that each stand for `n` equal sessions.
CREATE TEMP MACRO weighted_sums(y, m, n) AS {
    'n': sum(n), 'm': sum(m * n), 'm2': sum(m * m * n), 'y': sum(y * n), 'y2': sum(y * y * n), 'ym': sum(y * m * n)
};

CREATE TEMP MACRO ratio_mean(s) AS s.y::DOUBLE / nullif(s.m, 0)::DOUBLE;
-- Sum of the squares of y - mean * m, and of the squared and the cubed residuals y - ratio_mean * m.
CREATE TEMP MACRO squares_about(s, mean) AS s.y2 - 2 * mean * s.ym + mean ^ 2 * s.m2;
CREATE TEMP MACRO residuals_2(s) AS squares_about(s, ratio_mean(s));
CREATE TEMP MACRO residuals_3(s) AS
    s.y3 - 3 * ratio_mean(s) * s.y2m + 3 * ratio_mean(s) ^ 2 * s.ym2 - ratio_mean(s) ^ 3 * s.m3;
-- Standard error of ratio_mean with sessions as the sampling unit (Cochran, Sampling Techniques, 1977, chapter 6).
CREATE TEMP MACRO clustered_error(s) AS
    sqrt(greatest(residuals_2(s), 0) * s.n / nullif(s.n - 1, 0)) / nullif(s.m, 0);

-- A group's ratio of y to m, shrunk towards that of all groups, more so with less data (Bühlmann and Straub, 1970).
-- `tau` is the variance between groups: the mean product of the deviations of two sessions of the same group (intraclass
-- covariance; Fisher, 1925). For equal groups it is 0 on average, whatever the variance of a session depends on. Only its
-- excess over 1.645 standard errors of equal groups counts, so that chance alone seldom spreads the groups. `phi` is the
-- variance of a pull that is left. `s` has the sums over a group's sessions, and `mean` is the ratio of all groups.
CREATE TEMP MACRO pair_sums(s, mean) AS {
    'm': sum(s.m), 'm2': sum(s.m2), 'pairs': sum(s.m::DOUBLE ^ 2 - s.m2),
    'squares': sum(squares_about(s, mean)),
    'products': sum((s.y - mean * s.m) ^ 2 - squares_about(s, mean)),
    -- The variance of `products` for equal groups. It is too high if the squares of a group's sessions differ.
    'chance': sum(2 * squares_about(s, mean) ^ 2 * (1 - 1 / s.n))
};
CREATE TEMP MACRO between_variance(p) AS greatest(p.products - z_950() * sqrt(p.chance), 0) / nullif(p.pairs, 0);
CREATE TEMP MACRO within_variance(p, tau) AS greatest(p.squares - tau * p.m2, 0) / nullif(p.m, 0);
CREATE TEMP MACRO shrunk_ratio(y, m, mean, phi, tau) AS coalesce((phi * mean + tau * y) / nullif(phi + tau * m, 0), mean);

-- Bounds of the interval of a share; `s` has the hits of sessions. It is the score interval of the effective numbers of
-- hits and pulls, with Student's t instead of the normal distribution (for surveys: Korn and Graubard, 1998). Few hits do
-- not determine the correlation within sessions, so one more hit is assumed with the highest design effect that the
-- sizes of the sessions allow (Kish, 1965). A single session gives the interval from 0 to 1.
CREATE TEMP MACRO rarer_count(s) AS least(s.y, s.m - s.y);
CREATE TEMP MACRO cluster_effect(s) AS coalesce(
    greatest(residuals_2(s), 0) * s.n / nullif(s.n - 1, 0) / nullif(s.y::DOUBLE * (s.m - s.y) / nullif(s.m, 0), 0), 1);
CREATE TEMP MACRO design_effect(s) AS
    greatest(1, (rarer_count(s) * cluster_effect(s) + s.m2 / nullif(s.m, 0)) / (rarer_count(s) + 1));
-- `design` is design_effect(s), `t` the quantile of Student's t for s.n - 1. Pass them as columns: DuckDB copies a
-- macro's argument to each use, and planning would dominate the query.
CREATE TEMP MACRO clustered_low(s, design, t) AS CASE WHEN s.m > 0 THEN CASE WHEN s.n < 2 THEN 0 ELSE
    wilson_low(s.y / design, s.m / design, t) END END;
CREATE TEMP MACRO clustered_high(s, design, t) AS CASE WHEN s.m > 0 THEN CASE WHEN s.n < 2 OR s.y = s.m THEN 1 ELSE
    wilson_high(s.y / design, s.m / design, t) END END;

-- Whether too many quotes lie outside all tiers of a pack for its buyback percentage and tiers to be right.
CREATE TEMP MACRO lies_outside(share_low) AS share_low > 0.01;

-- Bounds of the 95 % interval of ratio_mean: Student's t with Hall's (1992) transformation against skewness. Without it
-- the upper bound of a mean with a few high values is too low. `skew` is the skewness of the residuals over the square
-- root of the number of sessions.
CREATE TEMP MACRO skew(s) AS coalesce(residuals_3(s) / nullif(greatest(residuals_2(s), 0), 0) ^ 1.5, 0);
CREATE TEMP MACRO unskewed(t, skew) AS
    CASE WHEN abs(skew) < 1e-9 THEN t ELSE (cbrt(1 + skew * (t - skew / 6)) - 1) * 3 / skew END;
CREATE TEMP MACRO mean_low(s) AS
    ratio_mean(s) - clustered_error(s) * unskewed(t_975(nullif(s.n - 1, 0)), skew(s));
CREATE TEMP MACRO mean_high(s) AS
    ratio_mean(s) - clustered_error(s) * unskewed(-t_975(nullif(s.n - 1, 0)), skew(s));

-- The upper bound of a mean of multiples, each at most 5. A sample without a rare jackpot cannot show its effect, so the
-- bound is at least that of the sample with one more session of one pull with a multiple of 5.
CREATE TEMP MACRO with_a_jackpot(s) AS {
    'n': s.n + 1, 'm': s.m + 1, 'm2': s.m2 + 1, 'm3': s.m3 + 1, 'y': s.y + 5, 'y2': s.y2 + 25, 'y3': s.y3 + 125,
    'ym': s.ym + 5, 'y2m': s.y2m + 25, 'ym2': s.ym2 + 5
};
CREATE TEMP MACRO capped_mean_high(s, jackpot_s) AS least(5, greatest(mean_high(s), mean_high(jackpot_s)));

-- The rank, among `n` values, of the lower bound of a median's 95 % interval (Woodruff, 1952). `share_error` is the
-- clustered error of the share of values up to the median; for independent values it is 1 / (2 * sqrt(n)). The upper
-- bound has the same rank from the other end. No distribution is assumed.
CREATE TEMP MACRO median_low_rank(n, share_error) AS
    greatest(1, floor((n + 1) / 2 - z_975() * n * share_error))::BIGINT;

-- The probability of k hits among n, each with probability p.
CREATE TEMP MACRO log_choose(n, k) AS lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1);
CREATE TEMP MACRO binomial_log(k, n, p) AS log_choose(n, k)
    + CASE WHEN k = 0 THEN 0 ELSE k * ln(p) END + CASE WHEN k = n THEN 0 ELSE (n - k) * ln(1 - p) END;
-- Distance from the mean up to which a sum over counts of hits must run for the rest to be negligible.
CREATE TEMP MACRO binomial_reach(hits, n, p) AS
    ceil(greatest(10 * sqrt(n * p * (1 - p)), 1.5 * abs(hits - n * p)) + 50)::BIGINT;
-- Two-sided p-value of the exact binomial test: the probability of all counts that are no likelier than the observed one.
-- The tolerance keeps equally likely counts in the sum despite rounding.
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

-- The log likelihood ratio of k hits in n between a mixture of shares and the published share p (Robbins, 1970; Lindon
-- and Malek, 2022). The mixture is a beta distribution around p, broader for rarer hits. If p is true, the probability
-- that the ratio ever exceeds ln(1 / a) is at most a, for any number of looks.
CREATE TEMP MACRO beta_log(a, b) AS lgamma(a) + lgamma(b) - lgamma(a + b);
CREATE TEMP MACRO mixture_log(k, n, p, concentration) AS
    beta_log(concentration * p + k, concentration * (1 - p) + n - k) - beta_log(concentration * p, concentration * (1 - p))
    - k * ln(p) - (n - k) * ln(1 - p);
CREATE TEMP MACRO evidence_log(k, n, p) AS mixture_log(k, n, p, 4 * greatest(p, 1 - p) / least(p, 1 - p));

-- The same for one session with correlated pulls: the log of the mean, over its pulls, of the likelihood ratio between
-- `expected`, a share predicted before the session, and p. If p is true, that mean has expectation 1 for any correlation.
CREATE TEMP MACRO session_evidence_log(k, n, p, expected) AS
    ln((k * expected / p + (n - k) * (1 - expected) / (1 - p)) / n);
-- The predicted share after k hits in n.
CREATE TEMP MACRO predicted_share(k, n, p) AS (100 * p + k) / (100 + n);

-- The price of a session: as submitted, else the pack's price times the packs bought, by default one per pull.
CREATE TEMP MACRO session_price(price_usd, pack_price_usd, quantity, pull_count) AS
    coalesce(price_usd, TRY_CAST(pack_price_usd * coalesce(quantity, pull_count)::DECIMAL(18,0) AS DECIMAL(18,4)));

-- The quote of an item with a fair market value. Quotes are in cents, so the bound is rounded half up to the cent, and an
-- item worth exactly the bound is within. Decimals, because half a cent may be less than that as a double.
CREATE TEMP MACRO quote_at(fmv_usd, buyback_share) AS
    round(fmv_usd::DECIMAL(28,4) * buyback_share::DECIMAL(9,6), 2)::DECIMAL(18,4);

CREATE TEMP MACRO ten_thousandths(x) AS (x::DECIMAL(38,4) * 10000)::HUGEINT;
-- The price of `pulls` pulls of sessions with that price and number of pulls each, rounded half up to four places. In
-- integers, since DuckDB divides decimals as doubles.
CREATE TEMP MACRO price_of(pulls, session_price, pulls_a_session) AS
    ((2 * ten_thousandths(session_price) * pulls + pulls_a_session) // nullif(2 * pulls_a_session, 0))::DECIMAL(34,0)
        * 0.0001::DECIMAL(4,4);

-- Quote over price per pull; NULL if the session was free.
CREATE TEMP MACRO multiple(quote, pull_count, session_price) AS
    quote::DOUBLE * pull_count / nullif(session_price, 0)::DOUBLE;
-- Whether the quote is at or above the price per pull; exact, since it does not divide. A free pull is no win.
CREATE TEMP MACRO is_win(quote, pull_count, session_price) AS
    session_price > 0 AND quote::DECIMAL(38,4) * pull_count >= session_price;
-- A multiple, at most 5. NULL stays NULL; least would ignore it.
CREATE TEMP MACRO capped(multiple) AS CASE WHEN multiple > 5 THEN 5 ELSE multiple END;

-- The bin of a multiple: monotonic, and equal for near multiples.
CREATE TEMP MACRO bin_of(multiple) AS CASE WHEN multiple > 0 THEN greatest(floor(ln(multiple) * 20), -1000)::INTEGER ELSE -1001 END;

-- Aggregates over rows that each stand for `n` equal values. `before` counts the values of the group before the row's,
-- in the group's order; `up_to` includes the row's.
CREATE TEMP MACRO sum_of(x, n) AS sum(x * n::DECIMAL(19,0));
CREATE TEMP MACRO total_of(x, n) AS TRY_CAST(sum_of(x, n) AS DECIMAL(18,4));
-- In ten-thousandths, as integers: DuckDB divides decimals as doubles.
CREATE TEMP MACRO mean_of(x, n) AS TRY_CAST(
    ((2 * (sum_of(x, n) * 10000)::HUGEINT + sum(n) FILTER (x IS NOT NULL))
        // nullif(2 * sum(n) FILTER (x IS NOT NULL), 0))::DECIMAL(34,0) * 0.0001::DECIMAL(4,4)
AS DECIMAL(18,4));

-- Linear interpolation between two amounts, to six places, then rounded to four.
CREATE TEMP MACRO millionths(x) AS (x::DECIMAL(38,4) * 1000000)::BIGINT;
CREATE TEMP MACRO between_money(low, high, share) AS (
    (millionths(low) + trunc((millionths(high) - millionths(low)) * share)::BIGINT)::DECIMAL(18,0) * 0.000001::DECIMAL(7,6)
)::DECIMAL(18,4);
-- A percentile of the values x in ascending order; `total_n` is their number.
CREATE TEMP MACRO percentile(x, up_to, total_n, share) AS between_money(
    min(x) FILTER (up_to > floor((total_n - 1) * share::DOUBLE)),
    min(x) FILTER (up_to > ceil((total_n - 1) * share::DOUBLE)),
    (max(total_n) - 1) * share::DOUBLE - floor((max(total_n) - 1) * share::DOUBLE));
-- The median of the values x, for `up_to` in the order of x; `total_n` is their number.
CREATE TEMP MACRO median_of(x, up_to, total_n) AS
    (min(x) FILTER (up_to >= (total_n + 1) // 2) + min(x) FILTER (up_to >= total_n // 2 + 1)) / 2;

-- The sum of the first `k` of the values, in descending order.
CREATE TEMP MACRO top_sum(x, n, before, k) AS sum_of(x, greatest(0, least(n, k - before)));

-- The number of top values that make half of the total; `higher_usd` is the sum of the values before the row's. A value
-- counts as long as the values before it, including equal ones, make less than half.
CREATE TEMP MACRO count_to_half(x, n, higher_usd, total_usd) AS CASE WHEN any_value(total_usd) > 0 THEN
    sum(CASE
        WHEN x IS NULL OR higher_usd * 2 >= total_usd THEN 0
        WHEN x = 0 THEN n
        ELSE least(n, (ten_thousandths(total_usd - higher_usd * 2) + ten_thousandths(x * 2) - 1) // ten_thousandths(x * 2))
    END)::BIGINT END;

-- Whether a period that ends before a day was over at `as_of`, the end of the data.
CREATE TEMP MACRO is_over(first_day_after, as_of) AS coalesce(first_day_after <= as_of::TIMESTAMP, false);

-- The number of pulls in the rows for which the condition is true.
CREATE TEMP MACRO pulls_where(n, is_one) AS coalesce(sum(n) FILTER (is_one), 0)::BIGINT;

-- The number of rows of top_pulls.
CREATE TEMP MACRO top_pull_limit() AS 100;

-- The logarithm of a quote; NULL if it is zero.
CREATE TEMP MACRO log_of(x) AS CASE WHEN x > 0 THEN ln(x::DOUBLE) END;

-- A day's figure on the scale for readers: shares and counts within their range, mean logarithms as money.
CREATE TEMP MACRO signal_value(signal, x) AS CASE
    WHEN signal = 'quoted_value' THEN exp(x)
    WHEN signal = 'purchases' THEN greatest(0, x)
    WHEN x IS NOT NULL THEN least(1, greatest(0, x)) END;
CREATE TEMP MACRO signal_number(signal, x) AS CASE signal
    WHEN 'purchases' THEN format('{:,.0f}', x)
    WHEN 'quoted_value' THEN format('${:,.2f}', x)
    ELSE format('{:.1f} %', 100 * x) END;
CREATE TEMP MACRO signal_range(signal, low, high) AS signal_number(signal, low) || ' to ' || signal_number(signal, high);
CREATE TEMP MACRO signal_words(signal, value) AS signal_number(signal, value) || CASE signal
    WHEN 'purchases' THEN ' purchases'
    WHEN 'failed_rate' THEN ' of the final purchases failed'
    WHEN 'win_rate' THEN ' of the pulls won'
    ELSE ' is the typical quote' END;
