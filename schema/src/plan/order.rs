//! From `orderBy` to the keys of an order, and from a cursor to a position in it.

use std::sync::Arc;

use klio_entities::klass::kind::Kind;
use klio_entities::klass::query::{Order, OrderBy, Position};
use klio_entities::klass::{End, Klass, Value};

use super::argument::{Fit, Guard};
use super::coerce::Input;
use super::compiler::Compiler;
use super::{cost, cursor, filter};
use crate::error::Error;
use crate::types::model::InputMeaning;

/// An order, with what a cursor of it is known by.
#[derive(Debug)]
pub struct Keys {
    /// The keys.
    pub order: Vec<Order>,
    /// Tells cursors of this order from others.
    pub hash: u32,
    /// What it costs.
    pub cost: u64,
}

/// `ASC`, `DESC_NULLS_FIRST`, …: descending, nulls first. Nulls come last unless said otherwise.
pub fn direction(name: &str) -> (bool, bool) {
    (name.starts_with("DESC"), name.ends_with("NULLS_FIRST"))
}

impl Compiler<'_> {
    /// `orderBy: [{placedAt: DESC}, {customer: {name: ASC}}, {link: {quantity: DESC}}]`; nothing: the newest first.
    pub fn order(&mut self, klass: &Klass, input_type: &str, input: Option<&Input>) -> Result<Keys, Error> {
        let mut order = Vec::new();
        for item in input.map(Input::items).unwrap_or_default() {
            self.order_item(input_type, &item, &mut Vec::new(), &mut order)?;
        }
        if order.is_empty()
            && let Some(id) = klass.property("id")
        {
            // The newest first: ids sort by time of creation.
            order.push(Order {
                through: Vec::new(),
                by: OrderBy::Property(id.clone()),
                descending: true,
                nulls_first: false,
            });
        }
        if order.len() > 16 {
            return Err(Error::bad("an order has at most 16 keys."));
        }
        let mut description = klass.name.clone();
        let mut cost = 0;
        for key in &order {
            let through: Vec<&str> = key.through.iter().map(|end| end.legal.as_str()).collect();
            let by = match &key.by {
                OrderBy::Property(property) => {
                    if !filter::has_index(property) {
                        cost = cost::UNINDEXED;
                    }
                    property.column.clone()
                }
                // The links are found by the object on which they hang, and with them what is sorted.
                OrderBy::Link(property) => format!("link:{}", property.column),
                OrderBy::Count(end) => {
                    cost = cost::UNINDEXED;
                    end.legal.clone()
                }
            };
            let descending = if key.descending { "-" } else { "+" };
            let nulls = if key.nulls_first { "0" } else { "1" };
            description.push_str(&format!("|{}.{by}{descending}{nulls}", through.join(".")));
        }
        Ok(Keys {
            order,
            hash: cursor::order_hash(&description),
            cost,
        })
    }

    fn order_item(&mut self, ty: &str, item: &Input, through: &mut Vec<Arc<End>>, order: &mut Vec<Order>) -> Result<(), Error> {
        let Input::Object(given) = item else {
            return Err(Error::bad("null in `orderBy`."));
        };
        for (name, value) in given {
            let field = self
                .ground
                .types
                .input(ty)
                .and_then(|it| it.fields.get(name.as_str()))
                .ok_or_else(|| Error::internal(format!("no field {name} in {ty}")))?;
            let by = match &field.means {
                InputMeaning::OrderProperty(property) => {
                    self.may_use(property, "order")?;
                    OrderBy::Property(property.clone())
                }
                InputMeaning::OrderLinkProperty(property) => {
                    self.may_use(property, "order")?;
                    OrderBy::Link(property.clone())
                }
                InputMeaning::OrderLink => {
                    self.order_item(field.ty.name(), value, through, order)?;
                    continue;
                }
                InputMeaning::OrderCount(end) => OrderBy::Count(end.clone()),
                InputMeaning::OrderThrough(end, far) => {
                    self.depends_on.insert(far.name.clone());
                    through.push(end.clone());
                    self.order_item(field.ty.name(), value, through, order)?;
                    through.pop();
                    continue;
                }
                other => return Err(Error::internal(format!("{other:?} has no place in an order"))),
            };
            let direction_name = match value {
                Input::Enum(name) => name.as_str(),
                // `orders: {count: DESC}`
                Input::Object(inner) => inner.values().find_map(Input::as_str).unwrap_or("ASC"),
                _ => return Err(Error::bad(format!("\"{name}\" is null in `orderBy`."))),
            };
            let (descending, nulls_first) = direction(direction_name);
            order.push(Order {
                through: through.clone(),
                by,
                descending,
                nulls_first,
            });
        }
        Ok(())
    }

    /// Where a cursor stands in an order.
    pub fn position(&mut self, input: &Input, keys: &[Order], hash: u32) -> Result<Position, Error> {
        let kinds: Vec<Kind> = keys
            .iter()
            .map(|key| match &key.by {
                OrderBy::Property(property) | OrderBy::Link(property) => property.kind.clone(),
                OrderBy::Count(_) => Kind::Integer { big: true },
            })
            .collect();
        self.position_of(input, &kinds, hash)
    }

    /// See [`Compiler::position`]; the kinds of the keys suffice.
    pub fn position_of(&mut self, input: &Input, kinds: &[Kind], hash: u32) -> Result<Position, Error> {
        let text = input.as_str().ok_or_else(|| Error::bad("this is not a cursor."))?.to_owned();
        let nulls = cursor::check(&text, hash, kinds.len()).map_err(Error::bad)?;
        if let Input::Leaf(Value::String(_), Some(slot)) = input {
            self.guards.push(Guard::CursorNulls(*slot, cursor::nulls(&text)));
        }
        let scaled = self.ground.scaled;
        let element = |this: &mut Self, index: usize, kind: Kind| {
            let fit = Fit::Cursor {
                index,
                order: hash,
                kind: Box::new(kind),
                scaled,
            };
            this.operand(input, &fit)
        };
        let mut keys = Vec::with_capacity(kinds.len());
        for (index, kind) in kinds.iter().enumerate() {
            keys.push(if nulls[index] {
                None
            } else {
                Some(element(self, index, kind.clone())?)
            });
        }
        Ok(Position {
            keys,
            id: element(self, kinds.len(), Kind::Id)?,
        })
    }
}
