//! The operators of filters: `StringFilter`, `MoneyFilter` and their like, the same in every schema, and what builds them for a klass's own
//! kinds.

use async_graphql_value::ConstValue;
use klio_entities::klass::filter::Op;

use super::kinds::{equality, is_null};
use super::model::{Argument, InputMeaning, InputType, Name};
use super::{Builder, input, list, req, t};

/// Kinds with an order whose operands have a scalar of their own: the scalar, and whether its filter tells `between`.
const ORDERED: [&str; 5] = ["Int", "BigInt", "Decimal", "Date", "DateTime"];

impl Builder<'_> {
    pub(super) fn operators(&mut self) {
        for scalar in ORDERED {
            self.add_input(range(scalar));
            self.add_input(comparison(
                &format!("{scalar}Comparison"),
                scalar,
                &format!("Comparisons with a `{scalar}`; all that are given must hold."),
            ));
            let mut filter = filter_input(scalar, equality(scalar));
            insert(&mut filter, ordering(scalar));
            insert(&mut filter, vec![between(scalar)]);
            if matches!(scalar, "Date" | "DateTime") {
                insert(
                    &mut filter,
                    vec![
                        Argument::new(
                            "withinLast",
                            t("Duration"),
                            InputMeaning::WithinLast,
                            "Between so long ago and now: `\"P7D\"`.",
                        ),
                        Argument::new(
                            "withinNext",
                            t("Duration"),
                            InputMeaning::WithinNext,
                            "Between now and so long from now: `\"PT12H\"`.",
                        ),
                    ],
                );
            }
            self.add_input(filter);
        }
        let mut percentile = comparison(
            "PercentileComparison",
            "Decimal",
            "Comparisons with a percentile; all that are given must hold.",
        );
        percentile.fields.insert(
            "p".into(),
            Argument::plain("p", req("Float"), "Which: from 0 (smallest) to 1 (largest)."),
        );
        self.add_input(percentile);
        self.add_input(range("String"));
        let mut text = filter_input("String", equality("String"));
        insert(&mut text, ordering("String"));
        insert(&mut text, vec![between("String")]);
        insert(&mut text, looking("String"));
        self.add_input(text);

        self.add_input(filter_input("ID", equality("ID")));

        let mut tree = input(
            "TreeFilter",
            None,
            "Conditions on a path in a tree, such as `sports/ball/tennis`; all that are given must hold.",
        );
        insert(&mut tree, equality("String"));
        insert(&mut tree, vec![op("under", "String", Op::Under, "Is this path or one below it.")]);
        self.add_input(tree);

        let mut boolean = filter_input("Boolean", Vec::new());
        insert(
            &mut boolean,
            vec![
                op("eq", "Boolean", Op::Eq, "Equals this."),
                op("ne", "Boolean", Op::Ne, "Does not equal this, or has no value."),
                is_null(),
            ],
        );
        self.add_input(boolean);

        let mut money = input(
            "MoneyFilter",
            None,
            "Conditions on an amount of money; all that are given must hold. Operators compare amounts, whatever the currency.",
        );
        insert(
            &mut money,
            vec![
                Argument::new(
                    "amount",
                    t("DecimalFilter"),
                    InputMeaning::TargetPart("amount".into()),
                    "Conditions on the amount.",
                ),
                Argument::new(
                    "currency",
                    t("StringFilter"),
                    InputMeaning::TargetPart("currency".into()),
                    "Conditions on the currency.",
                ),
            ],
        );
        insert(&mut money, equality("Decimal"));
        insert(&mut money, ordering("Decimal"));
        insert(&mut money, vec![between("Decimal")]);
        self.add_input(money);

        self.add_input(items_filter("MoneyListFilter", "Money", "MoneyFilter"));

        let mut json = input(
            "JSONFilter",
            None,
            "Conditions on a place in a JSON value; all that are given must hold. A string operand compares text, a number compares numbers.",
        );
        insert(
            &mut json,
            vec![Argument::new(
                "path",
                list("String"),
                InputMeaning::TargetPart("path".into()),
                "The place: keys and indexes from the outside in, `[\"shipping\", \"city\"]`. Without it only `isNull` may be given.",
            )],
        );
        insert(&mut json, equality("JSON"));
        insert(&mut json, ordering("JSON"));
        insert(&mut json, looking("String"));
        self.add_input(json);

        for scalar in [
            "String",
            "Int",
            "BigInt",
            "Decimal",
            "Boolean",
            "Date",
            "DateTime",
            "URL",
            "EmailAddress",
            "PhoneNumber",
            "ID",
        ] {
            let filter = list_filter(&format!("{scalar}ListFilter"), scalar);
            self.add_input(filter);
        }
        let mut presence = input("IsNullFilter", None, "Whether there is a value.");
        insert(&mut presence, vec![is_null()]);
        self.add_input(presence);

        let mut contact = input(
            "ContactFilter",
            None,
            "Conditions on any of a customer's contact points, normalised.",
        );
        insert(
            &mut contact,
            vec![
                op("eq", "String", Op::Eq, "One of them is this."),
                Argument::new("in", list("String"), InputMeaning::Operator(Op::In), "One of them is one of these."),
            ],
        );
        self.add_input(contact);

        let mut near = input("NearInput", None, "A circle on the earth.");
        insert(
            &mut near,
            vec![
                Argument::plain("latitude", req("Float"), "Of its centre, in degrees north."),
                Argument::plain("longitude", req("Float"), "Of its centre, in degrees east."),
                Argument::plain("km", req("Float"), "Its radius, in kilometres."),
            ],
        );
        self.add_input(near);

        let mut count = input("CountOrder", None, "By the number of objects at the far end.");
        count.one_of = true;
        insert(&mut count, vec![Argument::plain("count", t("SortDirection"), "In this direction.")]);
        self.add_input(count);

        let mut percentile = input("PercentileOrder", None, "By a percentile.");
        insert(
            &mut percentile,
            vec![
                Argument::plain("p", req("Float"), "Which: from 0 (smallest) to 1 (largest)."),
                Argument::plain("direction", req("SortDirection"), "In this direction.")
                    .or(ConstValue::Enum(async_graphql_value::Name::new("ASC"))),
            ],
        );
        self.add_input(percentile);
    }
}

/// `hasAny hasAll hasNone isNull` with operands of one type.
pub(super) fn list_filter(name: &str, item: &str) -> InputType {
    let mut it = input(
        Name::of(name),
        None,
        format!("Conditions on a list of `{item}`; all that are given must hold."),
    );
    insert(
        &mut it,
        vec![
            Argument::new(
                "hasAny",
                list(Name::of(item)),
                InputMeaning::Operator(Op::HasAny),
                "Holds at least one of these.",
            ),
            Argument::new(
                "hasAll",
                list(Name::of(item)),
                InputMeaning::Operator(Op::HasAll),
                "Holds all of these.",
            ),
            Argument::new(
                "hasNone",
                list(Name::of(item)),
                InputMeaning::Operator(Op::HasNone),
                "Holds none of these, or is no list at all.",
            ),
            is_null(),
        ],
    );
    it
}

/// `some every none isNull` of a list whose items have parts.
pub(super) fn items_filter(name: &str, item: &str, filter: &str) -> InputType {
    let mut it = input(
        Name::of(name),
        None,
        format!("Conditions on a list of `{item}`; all that are given must hold."),
    );
    super::filter::quantifiers(&mut it, filter);
    insert(&mut it, vec![is_null()]);
    it
}

fn filter_input(scalar: &str, fields: Vec<Argument>) -> InputType {
    let mut it = input(
        format!("{scalar}Filter"),
        None,
        format!("Conditions on a `{scalar}`; all that are given must hold."),
    );
    insert(&mut it, fields);
    it
}

fn range(scalar: &str) -> InputType {
    let mut it = input(format!("{scalar}Range"), None, "From one value to another, both included.");
    insert(
        &mut it,
        vec![
            Argument::plain("from", req(Name::of(scalar)), "The smallest that is in it."),
            Argument::plain("to", req(Name::of(scalar)), "The largest that is in it."),
        ],
    );
    it
}

/// `eq ne gt gte lt lte`.
pub(super) fn comparison(name: &str, scalar: &str, text: &str) -> InputType {
    let mut it = input(Name::of(name), None, text.to_owned());
    insert(
        &mut it,
        vec![
            op("eq", scalar, Op::Eq, "Equals this."),
            op("ne", scalar, Op::Ne, "Does not equal this."),
        ],
    );
    insert(&mut it, ordering(scalar));
    it
}

fn op(name: &'static str, operand: &str, op: Op, text: &'static str) -> Argument {
    Argument::new(name, t(Name::of(operand)), InputMeaning::Operator(op), text)
}

fn ordering(scalar: &str) -> Vec<Argument> {
    vec![
        op("gt", scalar, Op::Gt, "Is greater than this."),
        op("gte", scalar, Op::Gte, "Is this or greater."),
        op("lt", scalar, Op::Lt, "Is less than this."),
        op("lte", scalar, Op::Lte, "Is this or less."),
    ]
}

fn between(scalar: &str) -> Argument {
    Argument::new(
        "between",
        t(format!("{scalar}Range")),
        InputMeaning::Between,
        "Lies in this range, ends included.",
    )
}

fn looking(scalar: &str) -> Vec<Argument> {
    let mut out = vec![op("eqIgnoreCase", scalar, Op::EqFold, "Equals this, without regard to case.")];
    type Make = fn(bool) -> Op;
    let rows: [(&str, &str, Make); 4] = [
        ("contains", "Contains this", |fold| Op::Contains { fold }),
        ("startsWith", "Starts with this", |fold| Op::StartsWith { fold }),
        ("endsWith", "Ends with this", |fold| Op::EndsWith { fold }),
        ("matches", "Matches this regular expression somewhere", |fold| Op::Matches { fold }),
    ];
    for (name, text, make) in rows {
        out.push(Argument::new(
            name,
            t(Name::of(scalar)),
            InputMeaning::Operator(make(false)),
            format!("{text}."),
        ));
        let folded = format!("{name}IgnoreCase");
        out.push(Argument::new(
            folded,
            t(Name::of(scalar)),
            InputMeaning::Operator(make(true)),
            format!("{text}, without regard to case."),
        ));
    }
    out
}

pub(super) fn insert(into: &mut InputType, fields: Vec<Argument>) {
    into.fields.extend(fields.into_iter().map(|f| (f.name.clone(), f)));
}
