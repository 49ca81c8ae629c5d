//! Where a klass's values are kept, as the write path needs it: one slot per property or to-one link, in a fixed order.
//!
//! A row in memory (an *image*) is a `Vec<Value>` by slot. Values in it are in stored form: lists and objects are [`Value::Json`].

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use chrono::{DateTime, Datelike, SubsecRound, Timelike, Utc};
use rust_decimal::Decimal;
use sea_orm::QueryResult;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use crate::klass::kind::{DECIMAL_SCALE, MONEY_SCALE};
use crate::klass::property::Home;
use crate::klass::registry::CustomerLink;
use crate::klass::relationship::{Link, Side};
use crate::klass::{End, Kind, Klass, ObjectId, Property, Value};
use crate::store::{Dialect, StoreError};

mod cells;
mod fragments;

pub(crate) use cells::{bind, bind_json, bind_time, cell, read, read_json, read_time};
pub(crate) use fragments::{aside, ids, in_ids, in_texts, key_column, key_value, parameter, quote, table, texts};

/// A row in memory: a value per slot.
pub(crate) type Image = Vec<Value>;

/// How a slot is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Storage {
    Uuid,
    Text,
    Integer,
    Decimal,
    Boolean,
    Date,
    Time,
    /// Two columns: the amount, and `<column>_currency`.
    Money,
    Json,
}

/// A place for a value in a klass's row.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// The column.
    pub column: String,
    /// The legal name told in an event's `changed`: the property's, or the end's.
    pub legal: String,
    /// How it is stored.
    pub storage: Storage,
    /// Which table.
    pub home: Home,
    /// The property, unless it is a link.
    pub property: Option<Arc<Property>>,
}

/// All slots of a klass, and where the well-known ones are.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub slots: Vec<Slot>,
    by_column: HashMap<String, usize>,
    pub id: usize,
    pub external_id: Option<usize>,
    pub version: usize,
    pub created_at: usize,
    pub created_by: usize,
    pub updated_at: usize,
    pub updated_by: usize,
    pub deleted_at: usize,
    /// The link to the customer to whom the object belongs.
    pub customer: Option<usize>,
    /// Whether any slot is in the extension table.
    pub extended: bool,
}

/// Layouts by klass, as long as the klass lives; bounded by clearing (they are cheap to make).
static LAYOUTS: LazyLock<Mutex<Layouts>> = LazyLock::new(Mutex::default);
type Layouts = HashMap<usize, (Arc<Klass>, Arc<Layout>)>;
const LAYOUTS_KEPT: usize = 4_096;

impl Layout {
    /// The layout of a klass, made once per resolved klass.
    pub fn of(klass: &Arc<Klass>) -> Result<Arc<Layout>, StoreError> {
        let key = Arc::as_ptr(klass) as usize;
        let mut known = LAYOUTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((owner, layout)) = known.get(&key)
            && Arc::ptr_eq(owner, klass)
        {
            return Ok(layout.clone());
        }
        let layout = Arc::new(Self::make(klass)?);
        if known.len() >= LAYOUTS_KEPT {
            known.clear();
        }
        known.insert(key, (klass.clone(), layout.clone()));
        Ok(layout)
    }

    fn make(klass: &Klass) -> Result<Layout, StoreError> {
        let mut slots: Vec<Slot> = klass
            .properties
            .iter()
            .map(|property| Slot {
                column: property.column.clone(),
                legal: property.legal.clone(),
                storage: storage(&property.kind),
                home: property.home,
                property: Some(property.clone()),
            })
            .collect();
        for end in klass.ends.iter().filter(|end| end.side == Side::From) {
            if let Link::Column {
                column,
                klass_column,
                home,
            } = &end.relationship.link
            {
                let mut slot = Slot {
                    column: column.clone(),
                    legal: end.legal.clone(),
                    storage: Storage::Uuid,
                    home: *home,
                    property: None,
                };
                slots.push(slot.clone());
                if let Some(column) = klass_column {
                    slot.column = column.clone();
                    slot.storage = Storage::Text;
                    slots.push(slot);
                }
            }
        }
        let by_column: HashMap<String, usize> = slots.iter().enumerate().map(|(i, s)| (s.column.clone(), i)).collect();
        let need = |column: &str| {
            by_column
                .get(column)
                .copied()
                .ok_or_else(|| StoreError::Corrupt(format!("klass {} has no column {column}", klass.name)))
        };
        let customer = match &klass.customer {
            CustomerLink::Itself => Some(need("id")?),
            CustomerLink::Through(legal) => match klass.end(legal).map(|end| &end.relationship.link) {
                Some(Link::Column { column, .. }) => Some(need(column)?),
                _ => None,
            },
            CustomerLink::None => None,
        };
        Ok(Layout {
            id: need("id")?,
            external_id: by_column.get("external_id").copied(),
            version: need("version")?,
            created_at: need("created_at")?,
            created_by: need("created_by")?,
            updated_at: need("updated_at")?,
            updated_by: need("updated_by")?,
            deleted_at: need("deleted_at")?,
            customer,
            extended: slots.iter().any(|s| s.home == Home::Extension),
            slots,
            by_column,
        })
    }

    /// The slot of a column.
    pub fn slot(&self, column: &str) -> Option<usize> {
        self.by_column.get(column).copied()
    }

    /// The slots (id, klass) of a to-one link kept in this klass's row.
    pub fn link(&self, end: &End) -> Option<(usize, Option<usize>)> {
        match &end.relationship.link {
            Link::Column { column, klass_column, .. } => {
                Some((self.slot(column)?, klass_column.as_ref().and_then(|column| self.slot(column))))
            }
            Link::Table { .. } => None,
        }
    }

    /// A row with nothing in it.
    pub fn empty(&self) -> Image {
        vec![Value::Null; self.slots.len()]
    }

    /// The text at a slot; `None` for null.
    pub fn text<'a>(&self, image: &'a Image, column: &str) -> Option<&'a str> {
        match image.get(self.slot(column)?)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The id at a column; `None` for null.
    pub fn uuid(&self, image: &Image, column: &str) -> Option<Uuid> {
        uuid_of(image.get(self.slot(column)?)?)
    }

    /// The instant at a column; `None` for null.
    pub fn time(&self, image: &Image, column: &str) -> Option<DateTime<Utc>> {
        match image.get(self.slot(column)?)? {
            Value::DateTime(at) => Some(*at),
            _ => None,
        }
    }

    /// The row as an event tells it: by column, nulls left out.
    pub fn to_json(&self, image: &Image) -> Map<String, Json> {
        let mut map = Map::new();
        for (slot, value) in self.slots.iter().zip(image) {
            if !value.is_null() {
                map.insert(slot.column.clone(), to_json(value));
            }
        }
        map
    }

    /// [`Layout::to_json`] as text.
    pub fn to_text(&self, image: &Image) -> String {
        let values = self.slots.iter().zip(image).filter(|(_, value)| !value.is_null());
        text_of(values.map(|(slot, value)| (slot.column.as_str(), value)))
    }

    /// What differs of `old` against `new`, by column, nulls said, as JSON text; and the legal names of it, each once.
    pub fn difference(&self, old: &Image, new: &Image) -> (String, Vec<String>) {
        let mut names: Vec<String> = Vec::new();
        let mut values = Vec::new();
        for ((slot, old), new) in self.slots.iter().zip(old).zip(new) {
            if old != new {
                values.push((slot.column.as_str(), old));
                if !names.contains(&slot.legal) {
                    names.push(slot.legal.clone());
                }
            }
        }
        (text_of(values.into_iter()), names)
    }

    /// The select list of all slots, `t` being the klass's table and `x` its extension.
    pub fn select(&self) -> String {
        let mut out = String::new();
        for slot in &self.slots {
            if !out.is_empty() {
                out.push_str(", ");
            }
            let alias = if slot.home == Home::Extension { 'x' } else { 't' };
            out.push_str(&format!("{alias}.{}", quote(&slot.column)));
            if slot.storage == Storage::Money {
                out.push_str(&format!(", {alias}.{}", quote(&format!("{}_currency", slot.column))));
            }
        }
        out
    }

    /// Reads a row of [`Layout::select`], whose first column is at `index`.
    pub fn read(&self, dialect: Dialect, row: &QueryResult, mut index: usize) -> Result<Image, StoreError> {
        let mut image = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            image.push(read(dialect, slot.storage, row, &mut index)?);
        }
        Ok(image)
    }
}

/// How a kind is stored.
pub(crate) fn storage(kind: &Kind) -> Storage {
    match kind {
        Kind::Id => Storage::Uuid,
        Kind::Actor | Kind::String | Kind::Text | Kind::Url | Kind::Email | Kind::Phone | Kind::Enum(_) | Kind::Tree { .. } => {
            Storage::Text
        }
        Kind::Integer { .. } => Storage::Integer,
        Kind::Decimal => Storage::Decimal,
        Kind::Boolean => Storage::Boolean,
        Kind::Date => Storage::Date,
        Kind::DateTime => Storage::Time,
        Kind::Money => Storage::Money,
        Kind::Json | Kind::Object(_) | Kind::List(_) => Storage::Json,
    }
}

/// The stored form of a value: lists become JSON, instants lose what is below a microsecond. `None`: not of this storage.
pub(crate) fn settle(storage: Storage, value: Value) -> Option<Value> {
    Some(match (storage, value) {
        (_, Value::Null) | (Storage::Json, Value::Json(Json::Null)) => Value::Null,
        (Storage::Json, Value::Json(json)) => Value::Json(json),
        (Storage::Json, value) => Value::Json(to_json(&value)),
        (Storage::Time, Value::DateTime(at)) => Value::DateTime(at.trunc_subsecs(6)),
        (Storage::Decimal, Value::Decimal(d)) => Value::Decimal(d.round_dp(DECIMAL_SCALE)),
        (Storage::Decimal, Value::Integer(i)) => Value::Decimal(Decimal::from(i)),
        (Storage::Money, Value::Money { amount, currency }) => Value::Money {
            amount: amount.round_dp(MONEY_SCALE),
            currency,
        },
        (Storage::Uuid, value @ Value::Id(_))
        | (Storage::Text, value @ Value::String(_))
        | (Storage::Integer, value @ Value::Integer(_))
        | (Storage::Boolean, value @ Value::Bool(_))
        | (Storage::Date, value @ Value::Date(_)) => value,
        _ => return None,
    })
}

/// A value as an event tells it, and as a list stores its items: decimals as strings, instants as RFC 3339, ids with hyphens.
pub(crate) fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Integer(i) => Json::from(*i),
        Value::Decimal(d) => Json::String(d.normalize().to_string()),
        Value::String(s) => Json::String(s.clone()),
        Value::Date(d) => Json::String(d.to_string()),
        Value::DateTime(at) => Json::String(rfc3339(*at)),
        Value::Id(id) => Json::String(id.0.to_string()),
        Value::Money { amount, currency } => serde_json::json!({"amount": amount.normalize().to_string(), "currency": currency}),
        Value::Json(json) => json.clone(),
        Value::List(items) => Json::Array(items.iter().map(to_json).collect()),
    }
}

/// Columns and their values as the text of a JSON object: what [`to_json`] makes of each, without the detour over maps.
fn text_of<'v>(values: impl Iterator<Item = (&'v str, &'v Value)>) -> String {
    // Texts and values of JSON can always be written.
    fn write(out: &mut String, json: &impl serde::Serialize) {
        out.push_str(&serde_json::to_string(json).unwrap_or_default());
    }
    let mut out = String::with_capacity(512);
    for (column, value) in values {
        out.push(if out.is_empty() { '{' } else { ',' });
        write(&mut out, &column);
        out.push(':');
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Value::Integer(i) => out.push_str(&i.to_string()),
            Value::String(s) => write(&mut out, s),
            Value::Json(json) => write(&mut out, json),
            Value::DateTime(at) => {
                out.push('"');
                out.push_str(&rfc3339(*at));
                out.push('"');
            }
            Value::Id(id) => {
                out.push('"');
                out.push_str(id.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
                out.push('"');
            }
            other => write(&mut out, &to_json(other)),
        }
    }
    if out.is_empty() {
        out.push('{');
    }
    out.push('}');
    out
}

/// `2026-11-24T13:05:04.123456Z`.
pub(crate) fn rfc3339(at: DateTime<Utc>) -> String {
    let year = at.year();
    if !(0..=9999).contains(&year) {
        return at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    }
    // Several for each row that is written: a fifth of what chrono's own formatting takes.
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |from: usize, digits: usize, mut n: u32| {
        for place in text[from..from + digits].iter_mut().rev() {
            *place = b'0' + (n % 10) as u8;
            n /= 10;
        }
    };
    put(0, 4, year.unsigned_abs());
    put(5, 2, at.month());
    put(8, 2, at.day());
    put(11, 2, at.hour());
    put(14, 2, at.minute());
    put(17, 2, at.second());
    // A leap second is told as the end of the second before it.
    put(20, 6, at.timestamp_subsec_micros().min(999_999));
    text.iter().map(|&byte| char::from(byte)).collect()
}

/// The id in a value.
pub(crate) fn uuid_of(value: &Value) -> Option<Uuid> {
    match value {
        Value::Id(id) => Some(id.0),
        _ => None,
    }
}

/// An id as a value; null for none.
pub(crate) fn id_value(id: Option<Uuid>) -> Value {
    id.map_or(Value::Null, |id| Value::Id(ObjectId(id)))
}
