//! A connection: rows, edges, what is to be told about the page, a total, aggregates and groups, each read only where asked for.

use std::sync::Arc;

use async_graphql_parser::types::SelectionSet;
use klio_entities::klass::filter::Operand;
use klio_entities::klass::query::{Groups, Page, Rows, Window as ReadWindow};
use klio_entities::klass::{End, Klass, Value};

use super::aggregate::Aggregates;
use super::argument::Fit;
use super::coerce::{Arguments, Input};
use super::compiler::{Asked, Became, Compiler, Outputs};
use super::cost::{self, Cost};
use super::filter;
use super::order::Keys;
use super::shape::{Count, Fields, From, Items, Leaf, PageFact, Shape, Window};
use crate::error::Error;
use crate::types::model::{Meaning, ObjectType, TypeRef};

/// What a page's fields ask of the statement, as it gathers.
struct Wanted {
    rows: bool,
    total: bool,
    outputs: Outputs,
    row_cost: Cost,
    aggregates: Aggregates,
    groups: Vec<Groups>,
    window: Window,
}

impl<'a> Compiler<'a> {
    /// The objects of a klass, or those at an end of an object.
    pub fn page(&mut self, klass: &Arc<Klass>, end: Option<&Arc<End>>, asked: &Asked<'a>) -> Result<(Page, Shape, Cost), Error> {
        self.depends_on.insert(klass.name.clone());
        let arguments = &asked.arguments;
        let argument_type = |name: &str| {
            asked
                .field
                .arg(name)
                .map(|argument| argument.ty.name().to_owned())
                .unwrap_or_default()
        };
        let which = self.which(klass, asked.field, arguments)?;
        let keys = self.order(klass, &argument_type("orderBy"), arguments.given("orderBy"))?;
        let (read_window, window) = self.window(arguments, keys.hash, self.ground.page_default, self.ground.page_most)?;
        let (after, before) = self.positions(arguments, &keys)?;
        let deleted = arguments.given("withDeleted").and_then(Input::as_bool).unwrap_or(false);

        let mut wanted = Wanted {
            rows: false,
            total: false,
            outputs: Outputs::new(klass),
            row_cost: Cost::of(cost::ROW),
            aggregates: Aggregates::default(),
            groups: Vec::new(),
            window: window.clone(),
        };
        let on = self
            .ground
            .types
            .object(asked.field.ty.name())
            .ok_or_else(|| Error::internal(format!("{} is no connection", asked.field.ty)))?;
        // What the rows give is settled before any shape is made, since the place of the cursor is in each of them.
        if asks_for(self, on, &asked.beneath, |means| matches!(means, Meaning::PageInfo))? {
            wanted.window.cursor = Some(wanted.outputs.cursor());
        }
        let (fields, cost) = self.fields(on, &asked.beneath, |this, asked| this.page_field(asked, klass, end, &mut wanted))?;

        let mut total = Cost::of(cost::PAGE + filter::cost_of(which.as_ref()) + keys.cost);
        total.add(cost);
        if wanted.total {
            total.own += cost::SWEEP;
        }
        total.own += cost::SWEEP * (wanted.aggregates.list.len().min(1) + wanted.groups.len()) as u64;
        if wanted.rows {
            total.times.push((window.limit, wanted.row_cost));
            wanted.outputs.at_least_id();
        }
        let rows = wanted.rows.then(|| Rows {
            order: keys.order,
            window: ReadWindow {
                limit: read_window,
                backward: window.backward,
                after,
                before,
            },
            outputs: wanted.outputs.list,
        });
        let page = Page {
            klass: klass.clone(),
            filter: which,
            deleted,
            rows,
            total: wanted.total,
            aggregates: wanted.aggregates.list,
            groups: wanted.groups,
        };
        Ok((page, Shape::Object(Arc::new(fields)), total))
    }

    fn positions(
        &mut self,
        arguments: &Arguments,
        keys: &Keys,
    ) -> Result<
        (
            Option<klio_entities::klass::query::Position>,
            Option<klio_entities::klass::query::Position>,
        ),
        Error,
    > {
        let after = match arguments.given("after") {
            Some(cursor) => Some(self.position(cursor, &keys.order, keys.hash)?),
            None => None,
        };
        let before = match arguments.given("before") {
            Some(cursor) => Some(self.position(cursor, &keys.order, keys.hash)?),
            None => None,
        };
        Ok((after, before))
    }

    /// `first`, `last`, `after`, `before`: how many, from which end.
    pub fn window(&mut self, arguments: &Arguments, order: u32, default: u32, most: u32) -> Result<(Operand, Window), Error> {
        let (first, last) = (arguments.given("first"), arguments.given("last"));
        if first.is_some() && last.is_some() {
            return Err(Error::bad("say `first` or `last`, not both."));
        }
        let (limit, count) = match first.or(last) {
            None => (Operand::Const(Value::Integer(default.into())), Count::Known(default)),
            Some(input) => {
                let operand = self.operand(input, &Fit::PageSize(most))?;
                let count = match &operand {
                    Operand::Arg(index) => Count::Arg(*index),
                    Operand::Const(value) => match value {
                        Value::Integer(number) => Count::Known(u32::try_from(*number).unwrap_or(0)),
                        _ => Count::Known(0),
                    },
                };
                (operand, count)
            }
        };
        let window = Window {
            limit: count,
            backward: last.is_some(),
            after: arguments.given("after").is_some(),
            before: arguments.given("before").is_some(),
            cursor: None,
            order,
        };
        Ok((limit, window))
    }

    fn page_field(&mut self, asked: &Asked<'a>, klass: &Arc<Klass>, end: Option<&Arc<End>>, wanted: &mut Wanted) -> Result<Became, Error> {
        match &asked.field.means {
            Meaning::ConnectionNodes => {
                wanted.rows = true;
                let on = self.object_of(klass)?;
                let (fields, cost) = self.object(on, &asked.beneath, &mut wanted.outputs)?;
                wanted.row_cost.add(cost);
                Ok(rows(&asked.field.ty, fields, &wanted.window))
            }
            Meaning::Edges => {
                wanted.rows = true;
                let on = self.named_object(asked.field.ty.name())?;
                let (fields, cost) = self.fields(on, &asked.beneath, |this, asked| this.edge_field(asked, klass, wanted))?;
                wanted.row_cost.add(cost);
                Ok(rows(&asked.field.ty, fields, &wanted.window))
            }
            Meaning::PageInfo => {
                wanted.rows = true;
                let on = self.named_object(asked.field.ty.name())?;
                let (fields, _) = self.fields(on, &asked.beneath, |_, asked| page_fact(asked))?;
                Ok(Became {
                    from: From::At(0),
                    shape: Shape::PageInfo(wanted.window.clone(), Arc::new(fields)),
                    cost: Cost::default(),
                })
            }
            Meaning::TotalCount => {
                wanted.total = true;
                Ok(Became::value(From::At(1), Shape::Leaf(Leaf::Int)))
            }
            Meaning::LogCursor => {
                self.log_cursor = true;
                Ok(Became::value(From::Whole, Shape::LogCursor))
            }
            Meaning::Aggregate => {
                let on = self.named_object(asked.field.ty.name())?;
                let (fields, cost) = self.aggregate(on, &asked.beneath, klass, &mut wanted.aggregates)?;
                Ok(Became {
                    from: From::At(2),
                    shape: Shape::Object(Arc::new(fields)),
                    cost,
                })
            }
            Meaning::Groups => {
                let (groups, shape, cost) = self.groups(klass, asked)?;
                wanted.groups.push(groups);
                Ok(Became {
                    from: From::In(3, wanted.groups.len() - 1),
                    shape,
                    cost,
                })
            }
            other => {
                let end = end.map(|end| end.legal.as_str()).unwrap_or_default();
                Err(Error::internal(format!("{other:?} is not a field of a connection {end}")))
            }
        }
    }

    fn edge_field(&mut self, asked: &Asked<'a>, klass: &Arc<Klass>, wanted: &mut Wanted) -> Result<Became, Error> {
        match &asked.field.means {
            Meaning::EdgeNode => {
                let on = self.object_of(klass)?;
                let (fields, cost) = self.object(on, &asked.beneath, &mut wanted.outputs)?;
                Ok(Became {
                    from: From::Whole,
                    shape: Shape::Object(Arc::new(fields)),
                    cost,
                })
            }
            Meaning::EdgeCursor => Ok(Became::value(
                From::At(wanted.outputs.cursor()),
                Shape::Leaf(Leaf::Cursor(wanted.window.order)),
            )),
            Meaning::LinkProperty(property) => {
                if property.sensitive && !self.ground.sees_sensitive {
                    return Ok(Became::known("null"));
                }
                let shape = self.value(&property.kind, &asked.field.ty, &asked.beneath, klass, super::object::Stands::InRow)?;
                Ok(Became::value(From::At(wanted.outputs.link(property)), shape))
            }
            other => Err(Error::internal(format!("{other:?} is not a field of an edge"))),
        }
    }

    /// The object type of this name.
    pub fn named_object(&self, name: &str) -> Result<&'a ObjectType, Error> {
        self.ground
            .types
            .object(name)
            .ok_or_else(|| Error::internal(format!("{name} is not an object type")))
    }
}

/// Whether a field of this meaning is among the selected ones.
fn asks_for<'a>(
    compiler: &Compiler<'a>,
    on: &'a ObjectType,
    sets: &[&'a SelectionSet],
    wanted: impl Fn(&Meaning) -> bool,
) -> Result<bool, Error> {
    let ground = compiler.ground;
    let groups = super::select::collect(ground.types, &compiler.document.ast, on, sets, ground.variables)?;
    Ok(groups.values().any(|group| {
        on.fields
            .get(group[0].node.name.node.as_str())
            .is_some_and(|field| wanted(&field.means))
    }))
}

/// The rows of a page, as a list of this type.
pub fn rows(ty: &TypeRef, fields: Fields, window: &Window) -> Became {
    rows_of(ty, Shape::Object(Arc::new(fields)), window)
}

/// See [`rows`]; of any shape.
pub fn rows_of(ty: &TypeRef, item: Shape, window: &Window) -> Became {
    let nullable = match ty.nullable() {
        TypeRef::List(item) => !item.is_required(),
        _ => true,
    };
    Became {
        from: From::At(0),
        shape: Shape::Rows(
            window.clone(),
            Items {
                shape: Box::new(item),
                nullable,
            },
        ),
        cost: Cost::default(),
    }
}

/// A field of `PageInfo`.
pub fn page_fact(asked: &Asked<'_>) -> Result<Became, Error> {
    let fact = match &asked.field.means {
        Meaning::PageInfoField("hasNextPage") => PageFact::HasNextPage,
        Meaning::PageInfoField("hasPreviousPage") => PageFact::HasPreviousPage,
        Meaning::PageInfoField("startCursor") => PageFact::StartCursor,
        Meaning::PageInfoField("endCursor") => PageFact::EndCursor,
        other => return Err(Error::internal(format!("{other:?} is not a field of PageInfo"))),
    };
    Ok(Became {
        from: From::Whole,
        shape: Shape::PageFact(fact),
        cost: Cost::default(),
    })
}
