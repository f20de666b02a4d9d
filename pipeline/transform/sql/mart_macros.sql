-- What marts share: intervals, tests and prices. A sample is one of sessions: the pulls of one session may resemble each other, so what an
-- interval rests on is how sessions differ, not items. `y` is a session's sum of something, `m` its number of pulls;
-- the macros that take them are aggregates over sessions. benchmarks/coverage.py measures how often they hold.

-- Bounds of the score interval of `hits` in `n` (Wilson, 1927), both of which may be fractions; z is how many standard
-- errors it reaches. NULL when n is 0: greatest and least would pass over a NULL. Rounding must not take a bound past a
-- share of 0 or 1.
CREATE TEMP MACRO wilson_centre(hits, n, z) AS (hits + z ^ 2 / 2) / (n + z ^ 2);
CREATE TEMP MACRO wilson_half(hits, n, z) AS
    z / (n + z ^ 2) * sqrt(greatest(hits * (n - hits), 0) / nullif(n, 0) + z ^ 2 / 4);
CREATE TEMP MACRO wilson_low(hits, n, z) AS
    CASE WHEN n > 0 THEN CASE WHEN hits = 0 THEN 0 ELSE wilson_centre(hits, n, z) - wilson_half(hits, n, z) END END;
CREATE TEMP MACRO wilson_high(hits, n, z) AS
    CASE WHEN n > 0 THEN CASE WHEN hits = n THEN 1 ELSE wilson_centre(hits, n, z) + wilson_half(hits, n, z) END END;

-- The point of Student's t that is as probable as the point z of the normal distribution, by Cornish and Fisher's
-- expansion; at 97.5 % true to 0.0001 from 20 degrees of freedom on, to 0.003 from 5 on.
CREATE TEMP MACRO t_point(z, df) AS z + (z ^ 3 + z) / 4 / df + (5 * z ^ 5 + 16 * z ^ 3 + 3 * z) / 96 / df ^ 2
    + (3 * z ^ 7 + 19 * z ^ 5 + 17 * z ^ 3 - 15 * z) / 384 / df ^ 3;
CREATE TEMP MACRO z_975() AS 1.959963984540054e0;
-- The point of the normal distribution above which there is the probability p, of 0.02 at most; by Acklam's quotient of
-- polynomials, true to 0.000001.
CREATE TEMP MACRO tail_root(p) AS sqrt(-2 * ln(p));
CREATE TEMP MACRO z_above(p) AS -(((((-7.784894002430293e-03 * tail_root(p) - 3.223964580411365e-01) * tail_root(p)
        - 2.400758277161838e+00) * tail_root(p) - 2.549732539343734e+00) * tail_root(p) + 4.374664141464968e+00)
        * tail_root(p) + 2.938163982698783e+00)
    / ((((7.784695709041462e-03 * tail_root(p) + 3.224671290700398e-01) * tail_root(p) + 2.445134137142996e+00)
        * tail_root(p) + 3.754408661907416e+00) * tail_root(p) + 1);
-- How many standard errors intervals must reach so that k of them hold at once in 95 % (Bonferroni).
CREATE TEMP MACRO z_of_all(k) AS CASE WHEN k > 1 THEN z_above(0.025e0 / k) ELSE z_975() END;
CREATE TEMP MACRO t_975(df) AS t_point(z_975(), df);

-- Below so many sessions no interval of a mean, and below so many none of a median, is given.
CREATE TEMP MACRO are_enough(session_count) AS session_count >= 100;
CREATE TEMP MACRO are_enough_for_a_median(session_count) AS session_count >= 30;

-- What the rest asks of a sample: sums over sessions. They add up, so that a long history need not be read for them.
CREATE TEMP MACRO session_sums(y, m) AS {
    'n': count(*), 'm': sum(m), 'm2': sum(m * m), 'm3': sum(m * m * m),
    'y': sum(y), 'y2': sum(y * y), 'y3': sum(y * y * y),
    'ym': sum(y * m), 'y2m': sum(y * y * m), 'ym2': sum(y * m * m)
};

-- The same where `n` sessions at a time are alike, as far as shares need it.
CREATE TEMP MACRO weighted_sums(y, m, n) AS {
    'n': sum(n), 'm': sum(m * n), 'm2': sum(m * m * n), 'y': sum(y * n), 'y2': sum(y * y * n), 'ym': sum(y * m * n)
};

CREATE TEMP MACRO ratio_mean(s) AS s.y::DOUBLE / nullif(s.m, 0)::DOUBLE;
-- Sum of the squared, and of the cubed, residuals y - ratio_mean * m.
CREATE TEMP MACRO residuals_2(s) AS s.y2 - 2 * ratio_mean(s) * s.ym + ratio_mean(s) ^ 2 * s.m2;
CREATE TEMP MACRO residuals_3(s) AS
    s.y3 - 3 * ratio_mean(s) * s.y2m + 3 * ratio_mean(s) ^ 2 * s.ym2 - ratio_mean(s) ^ 3 * s.m3;
-- Standard error of ratio_mean when sessions are what was drawn (Cochran, Sampling Techniques, 1977, chapter 6).
CREATE TEMP MACRO clustered_error(s) AS
    sqrt(greatest(residuals_2(s), 0) * s.n / nullif(s.n - 1, 0)) / nullif(s.m, 0);

-- What a group's ratio of y to w is when it is drawn towards that of all groups, the more so the less is known of the group
-- (Bühlmann and Straub, 1970): (K * mean + y) / (K + w), with K by moments from groups of `n` sessions each, y2 being the sum
-- of y * y / w over a group's sessions. Where groups differ no more than chance makes them, each has the mean; where none has
-- two sessions, chance cannot be told and there is none.
CREATE TEMP MACRO within_variance(s) AS greatest(s.within, 0) / nullif(s.n - s.groups, 0);
CREATE TEMP MACRO between_variance(s) AS
    (s.y2_of_groups - s.y ^ 2 / nullif(s.w, 0) - (s.groups - 1) * within_variance(s)) / nullif(s.w - s.w2 / nullif(s.w, 0), 0);
CREATE TEMP MACRO shrunk_ratio(y, w, s) AS CASE
    WHEN w IS NULL OR within_variance(s) IS NULL THEN NULL
    WHEN coalesce(between_variance(s), 0) <= 0 THEN s.y / nullif(s.w, 0)
    ELSE (within_variance(s) / between_variance(s) * s.y / s.w + y) / (within_variance(s) / between_variance(s) + w) END;
CREATE TEMP MACRO group_sums(n, y, w, y2) AS {
    'groups': count(*), 'n': sum(n), 'y': sum(y), 'w': sum(w), 'w2': sum(w * w), 'y2_of_groups': sum(y * y / w),
    'within': sum(y2 - y * y / w)
};
-- Bounds of a share's interval, where `s` has counts of hits in sessions: the score interval of as many hits and pulls as
-- would be worth the same if they were independent, with Student's t for the normal distribution (as modified for surveys:
-- Korn and Graubard, 1998). How much the hits of a session resemble each other cannot be told from few hits, so that one
-- more is taken for as alike as the sizes of the sessions allow (Kish, 1965). One session tells nothing.
CREATE TEMP MACRO rarer(s) AS least(s.y, s.m - s.y);
CREATE TEMP MACRO likeness(s) AS coalesce(
    greatest(residuals_2(s), 0) * s.n / nullif(s.n - 1, 0) / nullif(s.y::DOUBLE * (s.m - s.y) / nullif(s.m, 0), 0), 1);
CREATE TEMP MACRO design_effect(s) AS
    greatest(1, (rarer(s) * likeness(s) + s.m2 / nullif(s.m, 0)) / (rarer(s) + 1));
-- `design` is design_effect(s) and `t` the point of Student's t for s.n - 1: columns, for a macro's arguments are written
-- out wherever it names them, and planning would take longer than all the rest.
CREATE TEMP MACRO clustered_low(s, design, t) AS CASE WHEN s.m > 0 THEN CASE WHEN s.n < 2 THEN 0 ELSE
    wilson_low(s.y / design, s.m / design, t) END END;
CREATE TEMP MACRO clustered_high(s, design, t) AS CASE WHEN s.m > 0 THEN CASE WHEN s.n < 2 OR s.y = s.m THEN 1 ELSE
    wilson_high(s.y / design, s.m / design, t) END END;

-- Whether so many quotes lie outside all of a pack's tiers that its buyback percentage, or the tiers, must be wrong.
CREATE TEMP MACRO lies_outside(share_low) AS share_low > 0.01;

-- Bounds of the 95 % interval of ratio_mean: Student's t, with Hall's (1992) transformation to remove skewness, for
-- without it the upper bound of a mean that rests on few high values is too low. `skew` is the residuals' skewness over
-- the root of the number of sessions.
CREATE TEMP MACRO skew(s) AS coalesce(residuals_3(s) / nullif(greatest(residuals_2(s), 0), 0) ^ 1.5, 0);
CREATE TEMP MACRO unskewed(t, skew) AS
    CASE WHEN abs(skew) < 1e-9 THEN t ELSE (cbrt(1 + skew * (t - skew / 6)) - 1) * 3 / skew END;
CREATE TEMP MACRO mean_low(s) AS
    ratio_mean(s) - clustered_error(s) * unskewed(t_975(nullif(s.n - 1, 0)), skew(s));
CREATE TEMP MACRO mean_high(s) AS
    ratio_mean(s) - clustered_error(s) * unskewed(-t_975(nullif(s.n - 1, 0)), skew(s));

-- The upper bound of a mean of multiples, each at most 5. Where no session has drawn a rare jackpot yet, nothing in the
-- sample tells of it; so the bound is no lower than with one more session, of one pull, that has drawn one.
CREATE TEMP MACRO with_a_jackpot(s) AS {
    'n': s.n + 1, 'm': s.m + 1, 'm2': s.m2 + 1, 'm3': s.m3 + 1, 'y': s.y + 5, 'y2': s.y2 + 25, 'y3': s.y3 + 125,
    'ym': s.ym + 5, 'y2m': s.y2m + 25, 'ym2': s.ym2 + 5
};
CREATE TEMP MACRO capped_mean_high(s, jackpot_s) AS least(5, greatest(mean_high(s), mean_high(jackpot_s)));

-- The rank of the value that is the lower bound of a median's 95 % interval (Woodruff, 1952), of `n` values;
-- `share_error` is the clustered error of the share of values up to the median, 1 / (2 * sqrt(n)) where they are
-- independent. The upper bound's rank is as far from the other end. No shape of distribution is assumed.
CREATE TEMP MACRO median_low_rank(n, share_error) AS
    greatest(1, floor((n + 1) / 2 - z_975() * n * share_error))::BIGINT;

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

-- The logarithm of how much likelier k hits in n are under a mixture of shares than under the share p that is claimed
-- (Robbins, 1970; Lindon and Malek, 2022). The mixture is a beta distribution around p, the broader the rarer the hits.
-- However often it is looked at, it exceeds ln(1 / a) with a probability of at most a while p is true.
CREATE TEMP MACRO beta_log(a, b) AS lgamma(a) + lgamma(b) - lgamma(a + b);
CREATE TEMP MACRO mixture_log(k, n, p, concentration) AS
    beta_log(concentration * p + k, concentration * (1 - p) + n - k) - beta_log(concentration * p, concentration * (1 - p))
    - k * ln(p) - (n - k) * ln(1 - p);
CREATE TEMP MACRO evidence_log(k, n, p) AS mixture_log(k, n, p, 4 * greatest(p, 1 - p) / least(p, 1 - p));

-- The same of one session, whose pulls may be alike: the mean over its pulls of how much likelier each one is under
-- `expected`, a share that was foreseen before the session. Its mean is 1 while p is true, whatever ties the pulls together.
CREATE TEMP MACRO session_evidence_log(k, n, p, expected) AS
    ln((k * expected / p + (n - k) * (1 - expected) / (1 - p)) / n);
-- The share that is foreseen after k hits in n.
CREATE TEMP MACRO foreseen(k, n, p) AS (100 * p + k) / (100 + n);

-- What a session cost: as submitted, else the pack's known price for each pack bought, which is one a pull.
CREATE TEMP MACRO session_price(price_usd, pack_price_usd, quantity, pull_count) AS
    coalesce(price_usd, TRY_CAST(pack_price_usd * coalesce(quantity, pull_count)::DECIMAL(18,0) AS DECIMAL(18,4)));

-- What an item of a fair market value is quoted at. Quotes are in cents, so a bound of values is taken to the cent, half
-- cents up: an item worth exactly the bound is within. In decimals, for in doubles half a cent may be less than that.
CREATE TEMP MACRO quote_at(fmv_usd, buyback_share) AS
    round(fmv_usd::DECIMAL(28,4) * buyback_share::DECIMAL(9,6), 2)::DECIMAL(18,4);

CREATE TEMP MACRO ten_thousandths(x) AS (x::DECIMAL(38,4) * 10000)::HUGEINT;
-- What so many pulls cost, of sessions with that price and number of pulls each; rounded half up to four places. In whole
-- numbers, since decimals divide as doubles.
CREATE TEMP MACRO price_of(pulls, session_price, pulls_a_session) AS
    ((2 * ten_thousandths(session_price) * pulls + pulls_a_session) // nullif(2 * pulls_a_session, 0))::DECIMAL(34,0)
        * 0.0001::DECIMAL(4,4);

-- Quote over price per pull; NULL where the session was free.
CREATE TEMP MACRO multiple(quote, pull_count, session_price) AS
    quote::DOUBLE * pull_count / nullif(session_price, 0)::DOUBLE;
-- Whether a pull is quoted at or above the price per pull: without dividing, and so exact. A free one is no win.
CREATE TEMP MACRO is_win(quote, pull_count, session_price) AS
    session_price > 0 AND quote::DECIMAL(38,4) * pull_count >= session_price;
-- A multiple, at most 5. NULL stays NULL, which least would pass over.
CREATE TEMP MACRO capped(multiple) AS CASE WHEN multiple > 5 THEN 5 ELSE multiple END;

-- A number that is no less for a higher multiple, and the same for near ones.
CREATE TEMP MACRO bin_of(multiple) AS CASE WHEN multiple > 0 THEN greatest(floor(ln(multiple) * 20), -1000)::INTEGER ELSE -1001 END;

-- Of values that stand for `n` equal ones each. Aggregates over a group take its values in a row each, in which
-- `before` counts the values of the group that come before the row's in its order, and `up_to` includes the row's.
CREATE TEMP MACRO sum_of(x, n) AS sum(x * n::DECIMAL(19,0));
CREATE TEMP MACRO total_of(x, n) AS TRY_CAST(sum_of(x, n) AS DECIMAL(18,4));
-- In ten-thousandths, as whole numbers: a division of decimals would be one of doubles.
CREATE TEMP MACRO mean_of(x, n) AS TRY_CAST(
    ((2 * (sum_of(x, n) * 10000)::HUGEINT + sum(n) FILTER (x IS NOT NULL))
        // nullif(2 * sum(n) FILTER (x IS NOT NULL), 0))::DECIMAL(34,0) * 0.0001::DECIMAL(4,4)
AS DECIMAL(18,4));

-- The value that lies a share of the way from one to another, interpolated to six places and rounded to four.
CREATE TEMP MACRO millionths(x) AS (x::DECIMAL(38,4) * 1000000)::BIGINT;
CREATE TEMP MACRO between_money(low, high, share) AS (
    (millionths(low) + trunc((millionths(high) - millionths(low)) * share)::BIGINT)::DECIMAL(18,0) * 0.000001::DECIMAL(7,6)
)::DECIMAL(18,4);
-- A percentile of the values x in ascending order; `total_n` is how many there are.
CREATE TEMP MACRO percentile(x, up_to, total_n, share) AS between_money(
    min(x) FILTER (up_to > floor((total_n - 1) * share::DOUBLE)),
    min(x) FILTER (up_to > ceil((total_n - 1) * share::DOUBLE)),
    (max(total_n) - 1) * share::DOUBLE - floor((max(total_n) - 1) * share::DOUBLE));

-- The sum of the first `k` of the values, in descending order.
CREATE TEMP MACRO top_sum(x, n, before, k) AS sum_of(x, greatest(0, least(n, k - before)));

-- How many of the dearest values make half of their total; `dearer_usd` is the sum of the values before the row's. A
-- value counts as long as those before it, which in part are its equals, make less than half.
CREATE TEMP MACRO count_to_half(x, n, dearer_usd, total_usd) AS CASE WHEN any_value(total_usd) > 0 THEN
    sum(CASE
        WHEN x IS NULL OR dearer_usd * 2 >= total_usd THEN 0
        WHEN x = 0 THEN n
        ELSE least(n, (ten_thousandths(total_usd - dearer_usd * 2) + ten_thousandths(x * 2) - 1) // ten_thousandths(x * 2))
    END)::BIGINT END;

-- Whether a period that ends before a day was over at `as_of`, when the data end.
CREATE TEMP MACRO is_over(first_day_after, as_of) AS coalesce(first_day_after <= as_of::TIMESTAMP, false);

-- How many pulls are in the rows of which the condition is true.
CREATE TEMP MACRO pulls_where(n, is_one) AS coalesce(sum(n) FILTER (is_one), 0)::BIGINT;

-- How many of the dearest pulls top_pulls lists.
CREATE TEMP MACRO dearest_count() AS 100;

-- The logarithm of a quote; NULL where it is zero.
CREATE TEMP MACRO log_of(x) AS CASE WHEN x > 0 THEN ln(x::DOUBLE) END;

-- A day's figure on the scale that people read: shares and counts within what they can be, mean logarithms as money.
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
    WHEN 'failed_rate' THEN ' of the settled purchases failed'
    WHEN 'win_rate' THEN ' of the pulls won'
    ELSE ' is the typical quote' END;
