//! Any filter, any order, pages of any size, both ways: all pages together are the list that one would make by hand, also when an
//! object comes in between two pages.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Map;

use super::agree::{filters, some, values};
use super::*;
use crate::klass::accept;
use crate::klass::filter_memory::matches;

/// By what the lists are sorted: keys that repeat and are null, and one that does neither.
const SORTED: &[&str] = &[
    "remark", "status", "contact", "place", "items", "weight", "total", "paid", "due", "placedAt", "number",
];

/// An object as the test knows it.
#[derive(Clone, Debug)]
struct Known {
    n: u32,
    values: HashMap<&'static str, Value>,
    image: Map<String, Json>,
}

#[derive(Clone, Debug)]
struct Walk {
    filter: Filter,
    /// Property, descending, nulls first.
    order: Vec<(&'static str, bool, bool)>,
    size: usize,
    backward: bool,
    /// What comes in behind the first page.
    newcomer: Option<Vec<(&'static str, Value)>>,
}

fn row() -> BoxedStrategy<Vec<(&'static str, Value)>> {
    let parts: Vec<BoxedStrategy<(&'static str, Value)>> = values()
        .into_iter()
        .map(|(legal, values)| some(values).prop_map(move |value| (legal, value)).boxed())
        .collect();
    parts.boxed()
}

fn walks(shop: &Shop) -> BoxedStrategy<Walk> {
    let key = (proptest::sample::select(SORTED), any::<bool>(), any::<bool>());
    let filter = prop_oneof![1 => Just(Filter::And(vec![])), 3 => filters(shop)];
    let order = proptest::collection::vec(key, 0..4);
    let newcomer = prop_oneof![2 => Just(None), 1 => row().prop_map(Some)];
    (filter, order, 1..8_usize, any::<bool>(), newcomer)
        .prop_map(|(filter, order, size, backward, newcomer)| Walk {
            filter,
            order,
            size,
            backward,
            newcomer,
        })
        .boxed()
}

impl Walk {
    /// The order of two objects, as one would say it.
    fn compare(&self, a: &Known, b: &Known) -> Ordering {
        for (legal, descending, nulls_first) in &self.order {
            let by = match (&a.values[legal], &b.values[legal]) {
                (Value::Null, Value::Null) => Ordering::Equal,
                (Value::Null, _) if *nulls_first => Ordering::Less,
                (Value::Null, _) => Ordering::Greater,
                (_, Value::Null) if *nulls_first => Ordering::Greater,
                (_, Value::Null) => Ordering::Less,
                (a, b) => {
                    let by = accept::compare(a, b).expect("values of one kind");
                    if *descending { by.reverse() } else { by }
                }
            };
            if by.is_ne() {
                return by;
            }
        }
        let by = a.n.cmp(&b.n);
        let descending = self.order.last().is_some_and(|(_, descending, _)| *descending);
        if descending { by.reverse() } else { by }
    }

    /// The whole list, in the order in which the pages come.
    fn list(&self, known: &[Known]) -> Vec<Known> {
        let mut out: Vec<Known> = known
            .iter()
            .filter(|it| matches(&self.filter, &it.image, &[]) == Some(true))
            .cloned()
            .collect();
        out.sort_by(|a, b| self.compare(a, b));
        if self.backward {
            out.reverse();
        }
        out
    }

    fn read(&self, shop: &Shop, from: Option<&Known>) -> Read {
        let order = self.order.iter().map(|(legal, descending, nulls_first)| Order {
            through: vec![],
            by: OrderBy::Property(property(&shop.order, legal)),
            descending: *descending,
            nulls_first: *nulls_first,
        });
        let mut page = page(&shop.order)
            .filter(self.filter.clone())
            .order(order.collect())
            .limit(self.size as i64)
            .outputs(vec![value(&shop.order, "id")]);
        let position = from.map(|it| Position {
            keys: self
                .order
                .iter()
                .map(|(legal, ..)| Some(&it.values[legal]).filter(|v| !v.is_null()).map(|v| Operand::Const(v.clone())))
                .collect(),
            id: Operand::Const(Value::Id(id(it.n))),
        });
        if self.backward {
            page = page.backward();
        }
        match position {
            Some(position) if self.backward => page = page.before(position),
            Some(position) => page = page.after(position),
            None => {}
        }
        page.read()
    }
}

#[test]
fn pages_together_are_the_list() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(each_shop(|shop| async move {
        let handle = tokio::runtime::Handle::current();
        // The test's runner is not asynchronous.
        tokio::task::spawn_blocking(move || walk_all(&handle, &shop)).await.unwrap();
    }));
}

fn add(runtime: &tokio::runtime::Handle, shop: &Shop, known: &mut Vec<Known>, row: Vec<(&'static str, Value)>) {
    let n = known.len() as u32 + 1;
    // Not in the order of the ids.
    let number = format!("N{}", (n * 37) % 1009);
    let mut row = row;
    row.push(("number", text(&number)));
    row.push(("serial", Value::Integer(1)));
    let image = row
        .iter()
        .map(|(legal, value)| (property(&shop.order, legal).column.clone(), value.to_json()))
        .collect();
    runtime.block_on(shop.insert(&shop.order, n, &row, &[]));
    known.push(Known {
        n,
        values: row.into_iter().collect(),
        image,
    });
}

fn walk_all(runtime: &tokio::runtime::Handle, shop: &Shop) {
    let mut runner = TestRunner::new(Config {
        cases: if shop.store.dialect() == Dialect::Sqlite { 400 } else { 150 },
        failure_persistence: None,
        // A newcomer stays, so a smaller case is not the same case.
        max_shrink_iters: 0,
        ..Config::default()
    });
    let mut known = Vec::new();
    for _ in 0..50 {
        let row = row().new_tree(&mut runner).unwrap().current();
        add(runtime, shop, &mut known, row);
    }
    let known = Mutex::new(known);
    let result = runner.run(&walks(shop), |walk| {
        let mut known = known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut expected = walk.list(&known);
        let (mut seen, mut from, mut newcomer) = (Vec::<u32>::new(), None::<Known>, walk.newcomer.clone());
        loop {
            let rows = runtime.block_on(shop.read(&walk.read(shop, from.as_ref()), &[]));
            let rows = numbers(&rows[0]);
            let more = rows.len() > walk.size;
            seen.extend(rows.iter().take(walk.size));
            if !more {
                break;
            }
            let last = *seen.last().expect("a page that has more is full");
            from = known.iter().find(|it| it.n == last).cloned();
            if let Some(row) = newcomer.take() {
                add(runtime, shop, &mut known, row);
                // What was shown stays shown, whoever came in before it; the rest is as it is now.
                let at = from.as_ref().expect("it is known");
                let behind = walk.list(&known).into_iter().filter(|it| {
                    let by = walk.compare(it, at);
                    if walk.backward { by.is_lt() } else { by.is_gt() }
                });
                expected = expected.into_iter().take(seen.len()).chain(behind).collect();
            }
        }
        let expected: Vec<u32> = expected.iter().map(|it| it.n).collect();
        prop_assert_eq!(seen, expected, "{:?} {:?}", shop.store.dialect(), walk);
        Ok(())
    });
    if let Err(e) = result {
        panic!("{e}");
    }
}
