//! The state of a compilation, and what every kind of object has in common: gathering fields, coercing their arguments,
//! settling keys and nullability.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_graphql_parser::Pos;
use async_graphql_parser::types::SelectionSet;
use chrono::{DateTime, Utc};
use klio_entities::klass::kind::{DECIMAL_SCALE, Kind, MONEY_SCALE};
use klio_entities::klass::query::{Output, Read};
use klio_entities::klass::{Klass, Property};

use super::argument::{Arguments as Operands, Fit, Guard};
use super::coerce::{Arguments, Input, Variables, coerce_arguments};
use super::cost::{self, Cost};
use super::select;
use super::shape::{FieldShape, Fields, From, Leaf, Shape};
use super::{Document, Fetch};
use crate::error::{Code, Error};
use crate::types::model::{Field, ObjectType, Types};

/// What a compilation stands on.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The org's types.
    pub types: &'a Types,
    /// The variables of the run for which the plan is made.
    pub variables: &'a Variables,
    /// The actor sees sensitive properties.
    pub sees_sensitive: bool,
    /// The store answers decimals scaled (SQLite).
    pub scaled: bool,
    /// The most objects of a page.
    pub page_most: u32,
    /// How many objects a page has when nothing is said.
    pub page_default: u32,
    /// The time of the request.
    pub now: DateTime<Utc>,
}

/// A compilation under way: of one statement.
#[derive(Debug)]
pub struct Compiler<'a> {
    /// On what it stands.
    pub ground: &'a Ground<'a>,
    /// The document.
    pub document: &'a Arc<Document>,
    /// The statement's arguments so far.
    pub operands: Operands,
    /// What the plan relies on.
    pub guards: Vec<Guard>,
    /// Something needs more statements.
    pub deferred: bool,
    /// The log's position is asked for.
    pub log_cursor: bool,
    /// Klasses that are read.
    pub depends_on: BTreeSet<String>,
}

/// The outputs of a row, as they gather.
#[derive(Debug)]
pub struct Outputs {
    /// In order.
    pub list: Vec<Output>,
    /// Whose row it is.
    pub klass: Arc<Klass>,
}

impl Outputs {
    /// None yet.
    pub fn new(klass: &Arc<Klass>) -> Self {
        Self {
            list: Vec::new(),
            klass: klass.clone(),
        }
    }

    /// Where in the row a property's value is; asked for once, however often it is selected.
    pub fn value(&mut self, property: &Arc<Property>) -> usize {
        let there = self
            .list
            .iter()
            .position(|o| matches!(o, Output::Value(p) if Arc::ptr_eq(p, property)));
        there.unwrap_or_else(|| self.push(Output::Value(property.clone())))
    }

    /// Where in the row a property of the link is.
    pub fn link(&mut self, property: &Arc<Property>) -> usize {
        let there = self
            .list
            .iter()
            .position(|o| matches!(o, Output::Link(p) if Arc::ptr_eq(p, property)));
        there.unwrap_or_else(|| self.push(Output::Link(property.clone())))
    }

    /// Where in the row its cursor is.
    pub fn cursor(&mut self) -> usize {
        let there = self.list.iter().position(|o| matches!(o, Output::Cursor));
        there.unwrap_or_else(|| self.push(Output::Cursor))
    }

    /// A row without outputs would not be told from no row by every database; the id costs nothing.
    pub fn at_least_id(&mut self) {
        let klass = self.klass.clone();
        if self.list.is_empty()
            && let Some(id) = klass.property("id")
        {
            self.value(id);
        }
    }

    /// Appends an output.
    pub fn push(&mut self, output: Output) -> usize {
        self.list.push(output);
        self.list.len() - 1
    }
}

/// What a field became.
pub struct Became {
    /// Where its node is.
    pub from: From,
    /// What becomes of it.
    pub shape: Shape,
    /// What it costs, for each of its parents.
    pub cost: Cost,
}

impl Became {
    /// A field that costs no more than a value.
    pub fn value(from: From, shape: Shape) -> Self {
        Self {
            from,
            shape,
            cost: Cost::of(cost::VALUE),
        }
    }
    /// A field that is known.
    pub fn known(json: impl Into<String>) -> Self {
        Self {
            from: From::Known(json.into()),
            shape: Shape::Leaf(Leaf::Raw),
            cost: Cost::default(),
        }
    }
}

/// A field as it is asked for: what it is, where it stands, with which arguments, and what is selected beneath.
pub struct Asked<'a> {
    /// The field of the schema.
    pub field: &'a Field,
    /// Its place in the document.
    pub pos: Pos,
    /// Its arguments.
    pub arguments: Arguments,
    /// What is selected beneath.
    pub beneath: smallvec::SmallVec<[&'a SelectionSet; 1]>,
}

impl<'a> Compiler<'a> {
    /// A new compilation.
    pub fn new(ground: &'a Ground<'a>, document: &'a Arc<Document>) -> Self {
        Self {
            ground,
            document,
            operands: Operands::new(false, ground.now),
            guards: Vec::new(),
            deferred: false,
            log_cursor: false,
            depends_on: BTreeSet::new(),
        }
    }

    /// The object type of a klass.
    pub fn object_of(&self, klass: &Klass) -> Result<&'a ObjectType, Error> {
        self.ground
            .types
            .object(&klass.legal.type_name)
            .ok_or_else(|| Error::internal(format!("no type for klass {}", klass.name)))
    }

    /// Gathers the fields that are selected of an object type and has each compiled by `each`.
    pub fn fields(
        &mut self,
        on: &'a ObjectType,
        sets: &[&'a SelectionSet],
        mut each: impl FnMut(&mut Self, &Asked<'a>) -> Result<Became, Error>,
    ) -> Result<(Fields, Cost), Error> {
        let ground = self.ground;
        let document: &'a Document = self.document;
        let groups = select::collect(ground.types, &document.ast, on, sets, ground.variables)?;
        let mut fields = Vec::with_capacity(groups.len());
        let mut total = Cost::default();
        for (key, group) in &groups {
            let first = group[0];
            let name = first.node.name.node.as_str();
            if name == "__typename" {
                fields.push(FieldShape {
                    key: (*key).to_owned(),
                    name: name.to_owned(),
                    pos: first.pos,
                    nullable: false,
                    from: From::Known(format!("\"{}\"", on.name)),
                    shape: Shape::Leaf(Leaf::Raw),
                });
                continue;
            }
            let field = on
                .fields
                .get(name)
                .ok_or_else(|| Error::internal(format!("no field {name} on {}, though the document was found valid", on.name)))?;
            let asked = Asked {
                field,
                pos: first.pos,
                arguments: coerce_arguments(ground.types, &field.args, &first.node, first.pos, ground.variables)?,
                beneath: select::beneath(group),
            };
            let became = each(self, &asked).map_err(|error| if error.locations.is_empty() { error.at(first.pos) } else { error })?;
            total.add(became.cost);
            fields.push(FieldShape {
                key: (*key).to_owned(),
                name: name.to_owned(),
                pos: first.pos,
                nullable: !field.ty.is_required(),
                from: became.from,
                shape: became.shape,
            });
        }
        let type_name = on.name.clone();
        Ok((
            Fields {
                type_name: type_name.into(),
                fields,
            },
            total,
        ))
    }

    /// A statement that reads objects of a klass by ids: its first argument is the list, its rows begin with the id.
    pub fn many(mut self, klass: &Arc<Klass>, sets: &[&'a SelectionSet], deleted: bool) -> Result<Fetch, Error> {
        let ids = self.operands.given();
        let mut outputs = Outputs::new(klass);
        if let Some(id) = klass.property("id") {
            outputs.value(id);
        }
        let on = self.object_of(klass)?;
        let (fields, mut cost) = self.object(on, sets, &mut outputs)?;
        cost.own += cost::ROW;
        let read = Read::Many {
            klass: klass.clone(),
            ids,
            deleted,
            outputs: outputs.list,
        };
        let shape = Shape::Object(Arc::new(fields));
        Ok(self.fetch(read, shape, cost))
    }

    /// The statement that was compiled here.
    pub fn fetch(&mut self, read: Read, shape: Shape, cost: Cost) -> Fetch {
        Fetch {
            read,
            arguments: std::mem::take(&mut self.operands.sources),
            shape,
            deferred: self.deferred,
            log_cursor: self.log_cursor,
            cost,
            guards: std::mem::take(&mut self.guards),
            statement: std::sync::OnceLock::new(),
        }
    }

    /// How a scalar of a kind is written; `None` for kinds that have fields or items.
    pub fn leaf(&self, kind: &Kind, klass: &Klass) -> Option<Leaf> {
        Some(match kind {
            Kind::Id => Leaf::Id(klass.id_prefix.clone()),
            Kind::String | Kind::Text | Kind::Url | Kind::Email | Kind::Phone | Kind::Tree { .. } | Kind::Date | Kind::Json => Leaf::Raw,
            Kind::Integer { big: false } => Leaf::Int,
            Kind::Integer { big: true } => Leaf::BigInt,
            Kind::Decimal => Leaf::Decimal(if self.ground.scaled { DECIMAL_SCALE } else { 0 }),
            Kind::Boolean => Leaf::Boolean,
            Kind::DateTime => Leaf::DateTime,
            Kind::Enum(it) => Leaf::Enum(Arc::new(it.values.iter().map(|v| (v.value.clone(), v.legal.clone())).collect())),
            Kind::Actor | Kind::Money | Kind::Object(_) | Kind::List(_) => return None,
        })
    }

    /// Digits behind the point by which the store scales amounts of money.
    pub fn money_scale(&self) -> u32 {
        if self.ground.scaled { MONEY_SCALE } else { 0 }
    }

    /// Refuses a sensitive property in a place where its value would show through.
    pub fn may_use(&self, property: &Property, what: &str) -> Result<(), Error> {
        if property.sensitive && !self.ground.sees_sensitive {
            return Err(Error::new(
                Code::Forbidden,
                format!(
                    "\"{}\" is sensitive and your role does not see it, so you cannot {what} by it.",
                    property.legal
                ),
            ));
        }
        Ok(())
    }

    /// The value of an input that becomes a part of the statement: if it came out of a variable, the plan relies on it.
    pub fn fixed(&mut self, input: &Input) {
        if let Input::Leaf(value, Some(slot)) = input {
            self.guards.push(Guard::Equals(*slot, value.clone()));
        }
    }

    /// An operand, with what is wrong told as an error.
    pub fn operand(&mut self, input: &Input, fit: &Fit) -> Result<klio_entities::klass::filter::Operand, Error> {
        self.operands.operand(input, fit).map_err(Error::bad)
    }
}
