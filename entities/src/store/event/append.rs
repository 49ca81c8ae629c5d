//! Events into the log: counters last, in sorted order.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::Value as Bound;
use serde_json::Value as Json;
use uuid::Uuid;

use super::{EventOp, get, unsigned};
use crate::klass::OrgId;
use crate::store::cursor::{FeedPosition, Own};
use crate::store::write::layout::{bind_time, quote, texts};
use crate::store::{Dialect, StoreError, Tx, point};

/// An event on its way into the log.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub stream: String,
    pub id: Uuid,
    pub klass: String,
    pub object: Option<Uuid>,
    pub op: EventOp,
    /// Who did it.
    pub actor: String,
    pub cause: Option<Uuid>,
    pub depth: u32,
    pub changed: Vec<String>,
    /// What differs from `after`, as the text of a JSON object; the whole row when `after` is `None`.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// Where new events came to stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Appended {
    /// Per event, in the order given: its sequence number.
    pub seqs: Vec<i64>,
    /// Per event, in the order given: its position in the feed.
    pub positions: Vec<i64>,
    /// The new head of each stream.
    pub heads: Vec<(String, i64)>,
    /// The place in the feed behind which everything later is, our own transaction seen.
    pub feed: Option<FeedPosition>,
    /// The org's klass version, read in the same statement.
    pub klass_version: Option<i64>,
}

impl Appended {
    /// The new head of a stream.
    pub(crate) fn head(&self, stream: &str) -> i64 {
        self.heads.iter().find(|(known, _)| known == stream).map_or(0, |(_, seq)| *seq)
    }
}

/// Appends events to the log. The **last** statements before a commit: they take each stream's counter, in sorted order.
pub(crate) async fn append(tx: &Tx, org: OrgId, at: DateTime<Utc>, events: &[NewEvent]) -> Result<Appended, StoreError> {
    if events.is_empty() {
        return Ok(Appended::default());
    }
    let dialect = tx.dialect();
    let mut counts: std::collections::BTreeMap<&str, i64> = Default::default();
    let mut offsets = Vec::with_capacity(events.len());
    for event in events {
        let count = counts.entry(&event.stream).or_default();
        *count += 1;
        offsets.push(*count);
    }
    let rows: Vec<Json> = events
        .iter()
        .zip(&offsets)
        .map(|(event, offset)| {
            let id = |id: Uuid| match dialect {
                Dialect::Postgres => id.to_string(),
                Dialect::Sqlite => id.simple().to_string(),
            };
            let image = |image: &Option<String>| match (image, dialect) {
                (Some(text), Dialect::Sqlite) => Json::String(text.clone()),
                // On Postgres they go beside the rows; see `images`.
                _ => Json::Null,
            };
            let changed = Json::from(event.changed.clone());
            Json::Array(vec![
                event.stream.clone().into(),
                (*offset).into(),
                id(event.id).into(),
                event.klass.clone().into(),
                event.object.map(id).into(),
                event.op.as_str().into(),
                event.actor.clone().into(),
                event.cause.map(id).into(),
                event.depth.into(),
                if dialect == Dialect::Sqlite {
                    changed.to_string().into()
                } else {
                    changed
                },
                image(&event.before),
                image(&event.after),
            ])
        })
        .collect();
    let streams: Vec<Json> = counts.iter().map(|(stream, n)| serde_json::json!([stream, n])).collect();
    let appended = match dialect {
        Dialect::Postgres => append_postgres(tx, org, at, rows, streams, &offsets, events).await,
        Dialect::Sqlite => append_sqlite(tx, org, at, rows, streams, &offsets, events).await,
    };
    point::pass("write.appended");
    appended
}

/// The images before and after of all events, each as JSON text (empty: none): taken apart once, where they are stored.
fn images(events: &[NewEvent]) -> [Bound; 2] {
    let list = |image: fn(&NewEvent) -> &Option<String>| {
        let texts: Vec<Bound> = events
            .iter()
            .map(|event| Bound::String(Some(image(event).clone().unwrap_or_default())))
            .collect();
        Bound::Array(sea_orm::sea_query::ArrayType::String, Some(Box::new(texts)))
    };
    [list(|event| &event.before), list(|event| &event.after)]
}

/// One stream, one statement: its counter, then its events with their numbers.
const APPEND_ONE: &str = "with head as (insert into stream_head (org_id, stream, seq, xid) values ($1, $2, $3, pg_current_xact_id()) \
      on conflict (org_id, stream) do update set seq = stream_head.seq + excluded.seq, xid = greatest(stream_head.xid, excluded.xid) \
      returning seq, xid), \
    put as (insert into event (org_id, stream, seq, xid, id, klass, object_id, op, actor, at, cause, depth, changed, before, after) \
      select $1, r->>0, h.seq - $3 + (r->>1)::bigint, h.xid, (r->>2)::uuid, r->>3, (r->>4)::uuid, r->>5, r->>6, $5, (r->>7)::uuid, (r->>8)::int, \
        r->9, nullif(b, '')::jsonb, nullif(a, '')::jsonb \
      from rows from (jsonb_array_elements($4), unnest($6::text[]), unnest($7::text[])) with ordinality as t(r, b, a, i), head h order by i \
      returning position) \
    select $2, seq, xid::text::bigint, pg_snapshot_xmin(pg_current_snapshot())::text::bigint, \
      (select klass_version from org where id = $1), (select string_agg(position::text, ' ' order by position) from put) from head";

/// Several streams: their counters first, in sorted order.
const RAISE_MANY: &str = "insert into stream_head (org_id, stream, seq, xid) \
      select $1, r->>0, (r->>1)::bigint, pg_current_xact_id() from jsonb_array_elements($2) r order by 1, 2 \
      on conflict (org_id, stream) do update set seq = stream_head.seq + excluded.seq, xid = greatest(stream_head.xid, excluded.xid) \
      returning stream, seq, xid::text::bigint";

/// Then the events, all with the highest number that one of the streams has seen.
const APPEND_MANY: &str = "with raised as (update stream_head set xid = $4::text::xid8 where org_id = $1 and stream = any($5) and xid < $4::text::xid8), \
    put as (insert into event (org_id, stream, seq, xid, id, klass, object_id, op, actor, at, cause, depth, changed, before, after) \
      select $1, r->>0, (r->>1)::bigint, $4::text::xid8, (r->>2)::uuid, r->>3, (r->>4)::uuid, r->>5, r->>6, $3, (r->>7)::uuid, (r->>8)::int, \
        r->9, nullif(b, '')::jsonb, nullif(a, '')::jsonb \
      from rows from (jsonb_array_elements($2), unnest($6::text[]), unnest($7::text[])) with ordinality as t(r, b, a, i) order by i \
      returning position) \
    select pg_snapshot_xmin(pg_current_snapshot())::text::bigint, (select klass_version from org where id = $1), \
      (select string_agg(position::text, ' ' order by position) from put)";

#[allow(clippy::too_many_arguments, reason = "the two halves of one function")]
async fn append_postgres(
    tx: &Tx,
    org: OrgId,
    at: DateTime<Utc>,
    mut rows: Vec<Json>,
    streams: Vec<Json>,
    offsets: &[i64],
    events: &[NewEvent],
) -> Result<Appended, StoreError> {
    let json = |rows: Vec<Json>| Bound::Json(Some(Box::new(Json::Array(rows))));
    let counts: HashMap<String, i64> = streams
        .iter()
        .filter_map(|pair| Some((pair[0].as_str()?.to_string(), pair[1].as_i64()?)))
        .collect();
    let [before, after] = images(events);
    let missing = || StoreError::Corrupt("events without a head".into());
    let mut heads = HashMap::new();
    let (key, horizon, klass_version): (i64, i64, Option<i64>);
    // Rows get their positions in the order in which they are written, which is the events'.
    let positions: String;
    if let (1, Some((stream, count))) = (counts.len(), counts.iter().next()) {
        let values = vec![
            org.0.into(),
            stream.clone().into(),
            (*count).into(),
            json(rows),
            Bound::ChronoDateTimeUtc(Some(at)),
            before,
            after,
        ];
        let row = tx.query_one(APPEND_ONE, values).await?.ok_or_else(missing)?;
        heads.insert(get::<String>(&row, 0)?, get::<i64>(&row, 1)?);
        (key, horizon, klass_version) = (get(&row, 2)?, get(&row, 3)?, get(&row, 4)?);
        positions = get(&row, 5)?;
    } else {
        let mut highest = 0;
        for row in tx.query(RAISE_MANY, vec![org.0.into(), json(streams)]).await? {
            heads.insert(get::<String>(&row, 0)?, get::<i64>(&row, 1)?);
            highest = get::<i64>(&row, 2)?.max(highest);
        }
        let numbered = appended(heads.clone(), &counts, offsets, events)?;
        for (row, seq) in rows.iter_mut().zip(numbered.seqs) {
            row[1] = seq.into();
        }
        let values = vec![
            org.0.into(),
            json(rows),
            Bound::ChronoDateTimeUtc(Some(at)),
            highest.to_string().into(),
            texts(Dialect::Postgres, counts.keys().map(String::as_str)),
            before,
            after,
        ];
        let row = tx.query_one(APPEND_MANY, values).await?.ok_or_else(missing)?;
        (key, horizon, klass_version) = (highest, get(&row, 0)?, get(&row, 1)?);
        positions = get(&row, 2)?;
    }
    Ok(Appended {
        feed: Some(FeedPosition {
            xid: unsigned(horizon).saturating_sub(1),
            position: i64::MAX,
            own: Own::all(unsigned(key)),
        }),
        klass_version,
        positions: positions.split(' ').filter_map(|text| text.parse().ok()).collect(),
        ..appended(heads, &counts, offsets, events)?
    })
}

#[allow(clippy::too_many_arguments, reason = "the two halves of one function")]
async fn append_sqlite(
    tx: &Tx,
    org: OrgId,
    at: DateTime<Utc>,
    mut rows: Vec<Json>,
    streams: Vec<Json>,
    offsets: &[i64],
    events: &[NewEvent],
) -> Result<Appended, StoreError> {
    let counts: HashMap<String, i64> = streams
        .iter()
        .filter_map(|pair| Some((pair[0].as_str()?.to_string(), pair[1].as_i64()?)))
        .collect();
    let answer = tx
        .query(
            "insert into stream_head (org_id, stream, seq) select $1, r.value ->> 0, r.value ->> 1 from json_each($2) r where true \
             on conflict (org_id, stream) do update set seq = stream_head.seq + excluded.seq \
             returning stream, seq, (select klass_version from org where id = $1)",
            vec![org.0.into(), Json::Array(streams).to_string().into()],
        )
        .await?;
    let mut heads: HashMap<String, i64> = HashMap::new();
    let mut klass_version = None;
    for row in &answer {
        heads.insert(get(row, 0)?, get(row, 1)?);
        klass_version = get(row, 2)?;
    }
    let done = appended(heads, &counts, offsets, events)?;
    for (row, seq) in rows.iter_mut().zip(&done.seqs) {
        row[1] = (*seq).into();
    }
    let answer = tx
        .query(
            "insert into event (org_id, stream, seq, id, klass, object_id, op, actor, at, cause, depth, changed, before, after) \
             select $1, r.value ->> 0, r.value ->> 1, unhex(r.value ->> 2), r.value ->> 3, unhex(r.value ->> 4), r.value ->> 5, r.value ->> 6, $3, \
             unhex(r.value ->> 7), r.value ->> 8, r.value ->> 9, r.value ->> 10, r.value ->> 11 from json_each($2) r order by r.key returning position",
            vec![
                org.0.into(),
                Json::Array(rows).to_string().into(),
                bind_time(Dialect::Sqlite, Some(at)),
            ],
        )
        .await?;
    let mut positions = answer.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>, _>>()?;
    positions.sort_unstable();
    Ok(Appended {
        feed: Some(FeedPosition {
            xid: 0,
            position: positions.last().copied().unwrap_or_default(),
            own: Own::NONE,
        }),
        klass_version,
        positions,
        ..done
    })
}

fn appended(
    heads: HashMap<String, i64>,
    counts: &HashMap<String, i64>,
    offsets: &[i64],
    events: &[NewEvent],
) -> Result<Appended, StoreError> {
    let mut seqs = Vec::with_capacity(events.len());
    for (event, offset) in events.iter().zip(offsets) {
        let (Some(head), Some(count)) = (heads.get(&event.stream), counts.get(&event.stream)) else {
            return Err(StoreError::Corrupt(format!("{} got no head", quote(&event.stream))));
        };
        seqs.push(head - count + offset);
    }
    Ok(Appended {
        seqs,
        heads: heads.into_iter().collect(),
        ..Appended::default()
    })
}
