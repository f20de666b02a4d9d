-- A baseline without safeguards: derives the same tables and columns from a day's answers as the pipeline. It checks
-- nothing, records no findings, does not sort, and does not write atomically. It needs the views `status_responses` and
-- `session_submissions`, and writes the files to FOLDER.
COPY (
    SELECT session_id, count(*) AS poll_count, min(requested_at) AS first_polled_at, max(requested_at) AS last_polled_at,
        max(received_at) FILTER (outcome = 'pending') AS last_pending_at,
        arg_min(outcome, received_at) FILTER (outcome IN ('fulfilled', 'failed')) AS final_outcome,
        min(received_at) FILTER (outcome IN ('fulfilled', 'failed')) AS final_at,
        max(received_at) FILTER (outcome IN ('fulfilled', 'failed')) AS last_final_at,
        arg_min(body_sha256, received_at) FILTER (outcome IN ('fulfilled', 'failed')) AS final_body_sha256,
        coalesce(last_pending_at > final_at, false) AS may_have_late_answer
    FROM status_responses GROUP BY session_id
) TO 'FOLDER/session_day_polls.parquet' (COMPRESSION zstd);

COPY (
    SELECT session_id, received_at, body_sha256, unnest(from_json(decode(body), '{"result":{
        "user_id":"VARCHAR","public_id":"VARCHAR","tx_hash":"VARCHAR","nfts":[{
            "id":"VARCHAR","type":"VARCHAR","buyback_price":"DECIMAL(18,4)","mint_address":"VARCHAR",
            "collection_address":"VARCHAR","token_standard":"VARCHAR","content":{
                "metadata":{"name":"VARCHAR","image":"VARCHAR","back_image":"VARCHAR","attributes":[{
                    "trait_type":"VARCHAR","traitType":"VARCHAR","key":"VARCHAR","name":"VARCHAR","value":"VARCHAR"}]},
                "links":{"image":"VARCHAR","back_image":"VARCHAR"}}}]}}').result)
    FROM status_responses WHERE outcome = 'fulfilled'
) TO 'FOLDER/fulfilled_results.parquet' (COMPRESSION zstd);

COPY (
    SELECT submissions.session_id, coalesce(final_outcome, 'pending') AS status, initiated_at, submitted_at,
        first_polled_at, last_polled_at, final_at AS resolved_at, poll_count, pack_id, price_usd, quantity,
        coalesce(results.user_id, submissions.user_id) AS user_id, public_id, tx_hash,
        starts_with(tx_hash, 'sandbox_') AS is_sandbox, len(nfts) AS pull_count,
        list_sum(list_transform(nfts, lambda x: x.buyback_price)) AS buyback_value_usd, source_file
    FROM session_submissions AS submissions
    LEFT JOIN 'FOLDER/session_day_polls.parquet' USING (session_id)
    LEFT JOIN 'FOLDER/fulfilled_results.parquet' AS results USING (session_id)
) TO 'FOLDER/purchases.parquet' (COMPRESSION zstd);

COPY (
    SELECT session_id, pull_number, item.id AS item_id, item.type AS item_type,
        item.buyback_price AS buyback_price_usd, item.mint_address, item.collection_address,
        item.token_standard, item.mint_address IS NOT NULL AS is_on_chain, item.content.metadata.name,
        coalesce(item.content.metadata.image, item.content.links.image) AS image_url,
        coalesce(item.content.metadata.back_image, item.content.links.back_image) AS back_image_url,
        user_id, pack_id, price_usd AS session_price_usd, coalesce(initiated_at, resolved_at) AS pulled_at, resolved_at
    FROM (
        SELECT session_id, unnest(nfts) AS item, generate_subscripts(nfts, 1) AS pull_number
        FROM 'FOLDER/fulfilled_results.parquet'
    )
    JOIN 'FOLDER/purchases.parquet' USING (session_id)
) TO 'FOLDER/pulls.parquet' (COMPRESSION zstd);

COPY (
    SELECT session_id, pull_number, attribute_number, item_id,
        coalesce(attribute.trait_type, attribute.traitType, attribute.key, attribute.name) AS trait_type,
        attribute.value, 'string' AS value_type, TRY_CAST(attribute.value AS DOUBLE) AS value_number
    FROM (
        SELECT session_id, pull_number, item.id AS item_id, unnest(item.content.metadata.attributes) AS attribute,
            generate_subscripts(item.content.metadata.attributes, 1) AS attribute_number
        FROM (
            SELECT session_id, unnest(nfts) AS item, generate_subscripts(nfts, 1) AS pull_number
            FROM 'FOLDER/fulfilled_results.parquet' SEMI JOIN 'FOLDER/purchases.parquet' USING (session_id)
        )
    )
) TO 'FOLDER/item_attributes.parquet' (COMPRESSION zstd);
