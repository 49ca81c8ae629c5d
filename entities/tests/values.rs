//! Names, ids and values: what holds for any text, and for the texts that one should know.

use klio_entities::klass::accept::{self, accept};
use klio_entities::klass::filter::ContactKind;
use klio_entities::klass::id::{ObjectId, decode_base32, encode_base32};
use klio_entities::klass::kind::{EnumKind, EnumValue, Kind, ObjectKind, Part};
use klio_entities::klass::{Value, contact, name};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use uuid::Uuid;

#[test]
fn names_fold() {
    let cases = [
        ("order", "order", "Order", "order"),
        ("ecomm-order", "ecommOrder", "EcommOrder", "ecomm_order"),
        ("@acmeLoyaltyTier", "acmeLoyaltyTier", "AcmeLoyaltyTier", "acme_loyalty_tier"),
        ("acme_orders-order", "acmeOrdersOrder", "AcmeOrdersOrder", "acme_orders_order"),
        ("a.b", "aB", "AB", "a_b"),
        ("URLParam", "urlParam", "UrlParam", "url_param"),
        ("URL", "url", "Url", "url"),
        ("ACME_ORDER", "acmeOrder", "AcmeOrder", "acme_order"),
        ("3d model", "_3dModel", "_3dModel", "3d_model"),
        ("Straße Nr", "strasseNr", "StrasseNr", "strasse_nr"),
        ("Ärger", "aerger", "Aerger", "aerger"),
    ];
    for (given, field, type_name, column) in cases {
        assert_eq!(name::fold(given).as_deref(), Some(field), "{given}");
        assert_eq!(name::fold_type(given).as_deref(), Some(type_name), "{given}");
        assert_eq!(name::column(field), column, "{given}");
    }
    for nothing in ["", "-", "@.", "日本"] {
        assert_eq!(name::fold(nothing), None, "{nothing}");
    }
    let cases = [
        ("in progress", "IN_PROGRESS"),
        ("inProgress", "IN_PROGRESS"),
        ("2XL", "_2XL"),
        ("credit_card", "CREDIT_CARD"),
        ("true", "TRUE"),
        ("won't do", "WONT_DO"),
    ];
    for (value, legal) in cases {
        assert_eq!(name::fold_enum(value).as_deref(), Some(legal), "{value}");
    }
    for (one, many) in [
        ("company", "companies"),
        ("day", "days"),
        ("box", "boxes"),
        ("order", "orders"),
        ("branch", "branches"),
    ] {
        assert_eq!(name::plural(one), many);
    }
    assert_eq!(name::id_prefix("orderV2"), "order_v");
    assert_eq!(name::id_prefix("_3"), "object");
    assert_eq!(name::free_prefix("order", |p| ["order", "order_b"].contains(&p)), "order_c");
    assert_eq!(name::nearest("requierd", ["kind", "required", "unique"]), Some("required"));
    assert_eq!(name::nearest("zzz", ["kind", "required", "unique"]), None);
}

#[test]
fn ids_are_type_ids() {
    // the valid vectors of the TypeID specification 0.3
    let vectors = [
        ("00000000000000000000000000", "00000000-0000-0000-0000-000000000000"),
        ("00000000000000000000000001", "00000000-0000-0000-0000-000000000001"),
        ("0000000000000000000000000a", "00000000-0000-0000-0000-00000000000a"),
        ("0000000000000000000000000g", "00000000-0000-0000-0000-000000000010"),
        ("00000000000000000000000010", "00000000-0000-0000-0000-000000000020"),
        ("7zzzzzzzzzzzzzzzzzzzzzzzzz", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        ("0123456789abcdefghjkmnpqrs", "0110c853-1d09-52d8-d73e-1194e95b5f19"),
        ("01h455vb4pex5vsknk084sn02q", "01890a5d-ac96-774b-bcce-b302099a8057"),
    ];
    for (text, id) in vectors {
        let id: Uuid = id.parse().expect("a UUID");
        assert_eq!(decode_base32(text), Some(id));
        assert_eq!(ObjectId(id).to_text("pre_fix"), format!("pre_fix_{text}"));
        assert_eq!(ObjectId::parse(&format!("pre_fix_{text}")), Some(("pre_fix", ObjectId(id))));
    }
    for bad in [
        "prefix_1234567890123456789012345",
        "prefix_123456789012345678901234567",
        "prefix_1234567890123456789012345 ",
        "prefix_0123456789ABCDEFGHJKMNPQRS",
        "prefix_123456789-123456789-123456",
        "prefix_ooooooiiiiiiuuuuuuulllllll",
        "prefix_i23456789ol23456789oi23456",
        "prefix_8zzzzzzzzzzzzzzzzzzzzzzzzz",
        "00000000000000000000000000",
        "prefix_",
        "",
        "prefix_é234567890123456789012345",
    ] {
        assert_eq!(ObjectId::parse(bad), None, "{bad}");
    }
}

#[test]
fn what_each_kind_takes_and_refuses() {
    let state = Kind::Enum(EnumKind {
        type_name: None,
        values: vec![value("in progress", "IN_PROGRESS"), value("done", "DONE")],
    });
    let size = Kind::Object(ObjectKind {
        type_name: None,
        parts: vec![part("width", Kind::Decimal, true), part("unit", Kind::String, false)],
    });
    let tree = Kind::Tree {
        paths: vec!["a".into(), "a/b".into()],
    };
    let int = Kind::Integer { big: false };
    let big = Kind::Integer { big: true };
    let cases = [
        (&int, json!(5), "5"),
        (&int, json!(5.0), "5"),
        (&int, json!(2_147_483_648i64), "fault: 2147483648 is not a whole number of 32 bits."),
        (&int, json!(5.5), "fault: 5.5 is not a whole number."),
        (&int, json!(true), "fault: true is not a whole number."),
        (&big, json!("9223372036854775807"), "9223372036854775807"),
        (
            &big,
            json!("9223372036854775808"),
            "fault: \"9223372036854775808\" is not a whole number.",
        ),
        (&Kind::Decimal, json!(0.1), "\"0.1\""),
        (&Kind::Decimal, json!("10.500000"), "\"10.5\""),
        (&Kind::Decimal, json!("-999999999999.999999"), "\"-999999999999.999999\""),
        (&Kind::Decimal, json!("1e3"), "\"1000\""),
        (
            &Kind::Decimal,
            json!("1000000000000"),
            "fault: \"1000000000000\" has more than 12 digits before the point.",
        ),
        (
            &Kind::Decimal,
            json!("0.1234567"),
            "fault: \"0.1234567\" has 7 digits behind the point; at most 6 are kept. (Round it first.)",
        ),
        (&Kind::Decimal, json!("NaN"), "fault: \"NaN\" is not a decimal number."),
        (&Kind::Decimal, json!(""), "fault: \"\" is not a decimal number."),
        (&Kind::Boolean, json!(1), "fault: 1 is not true or false."),
        (&Kind::Date, json!("2024-02-29"), "\"2024-02-29\""),
        (
            &Kind::Date,
            json!("2026-02-29"),
            "fault: \"2026-02-29\" is not a date such as 2026-11-24.",
        ),
        (
            &Kind::Date,
            json!("2026-2-3"),
            "fault: \"2026-2-3\" is not a date such as 2026-11-24.",
        ),
        (
            &Kind::DateTime,
            json!("2026-11-24T13:05:04.1234567+01:00"),
            "\"2026-11-24T12:05:04.123456Z\"",
        ),
        (
            &Kind::DateTime,
            json!("2026-11-24"),
            "fault: \"2026-11-24\" is not a time such as 2026-11-24T13:05:04Z.",
        ),
        (&Kind::Url, json!(" https://example.com/a?b "), "\"https://example.com/a?b\""),
        (
            &Kind::Url,
            json!("mailto:a@b.c"),
            "fault: \"mailto:a@b.c\" is not an absolute URL with a host, such as https://example.com/a.",
        ),
        (&Kind::Email, json!(" Ann.Lee+x@Example.com "), "\"Ann.Lee+x@Example.com\""),
        (&Kind::Email, json!("a@b@c"), "fault: \"a@b@c\" is not an e-mail address."),
        (&Kind::Email, json!("a b@c.d"), "fault: \"a b@c.d\" is not an e-mail address."),
        (&Kind::Phone, json!("+1 (512) 555-0101"), "\"+15125550101\""),
        (&Kind::Phone, json!("0043 1 234"), "\"+431234\""),
        (
            &Kind::Phone,
            json!("call me"),
            "fault: \"call me\" is not a telephone number such as +1 512 555 0101.",
        ),
        (&state, json!("in progress"), "\"in progress\""),
        (&state, json!("IN_PROGRESS"), "\"in progress\""),
        (
            &state,
            json!("dome"),
            "fault: \"dome\" is not one of the values. (Did you mean \"done\"?)",
        ),
        (&tree, json!("a/b"), "\"a/b\""),
        (
            &tree,
            json!("a/c"),
            "fault: There is no path \"a/c\" in the tree. (Did you mean \"a/b\"?)",
        ),
        (
            &Kind::Money,
            json!({"amount": 12.5, "currency": "usd"}),
            "{\"amount\":\"12.5\",\"currency\":\"USD\"}",
        ),
        (&Kind::Money, json!({"amount": "1"}), "fault: currency: Money needs its `currency`."),
        (
            &Kind::Money,
            json!({"amount": "1", "currency": "DOLLAR"}),
            "fault: currency: \"DOLLAR\" is not a currency. (Give an ISO 4217 code, such as USD.)",
        ),
        (
            &Kind::Money,
            json!(5),
            "fault: 5 is not an amount of money. (Give {amount: \"12.50\", currency: \"USD\"}.)",
        ),
        (&size, json!({"unit": "cm", "width": 3}), "{\"width\":\"3\",\"unit\":\"cm\"}"),
        (&size, json!({"unit": "cm"}), "fault: width: `width` is required."),
        (
            &size,
            json!({"width": 1, "units": "cm"}),
            "fault: units: There is no part `units`. (Did you mean `unit`?)",
        ),
        (&Kind::String, json!("a\u{0}b"), "fault: A text cannot hold the character U+0000."),
        (
            &Kind::Json,
            json!({"a": ["\u{0}"]}),
            "fault: A text cannot hold the character U+0000.",
        ),
        (
            &Kind::List(Box::new(Kind::Date)),
            json!(["2026-01-01", "x"]),
            "fault: 1: \"x\" is not a date such as 2026-11-24.",
        ),
        (
            &Kind::List(Box::new(Kind::String)),
            json!(["a", null]),
            "fault: 1: A list cannot hold null.",
        ),
        (&Kind::List(Box::new(Kind::String)), json!("a"), "fault: \"a\" is not a list."),
    ];
    for (kind, given, expected) in cases {
        let actual = match accept(kind, &given, &[]) {
            Ok(value) => value.to_json().to_string(),
            Err(fault) => format!("fault: {fault}"),
        };
        assert_eq!(actual, expected, "{given} as {}", kind.name());
    }
}

#[test]
fn contact_points_are_compared_in_one_form() {
    let n = |kind, text| contact::normalise(kind, text);
    assert_eq!(n(ContactKind::Email, " Ann@Example.COM"), Some("ann@example.com".into()));
    assert_eq!(n(ContactKind::Email, "Ann"), None);
    assert_eq!(n(ContactKind::Phone, "tel:+1-512-555.0101"), Some("+15125550101".into()));
    assert_eq!(n(ContactKind::Phone, "(512) 555 0101"), Some("5125550101".into()));
    assert_eq!(n(ContactKind::Phone, "12"), None);
    assert_eq!(n(ContactKind::ExternalId, " x1 "), Some("x1".into()));
    assert_eq!(n(ContactKind::ExternalId, " "), None);
}

fn value(stored: &str, legal: &str) -> EnumValue {
    EnumValue {
        value: stored.into(),
        legal: legal.into(),
        description: None,
        deprecated: None,
    }
}

fn part(name: &str, kind: Kind, required: bool) -> Part {
    Part {
        name: name.into(),
        kind,
        required,
        description: None,
    }
}

/// A kind and a JSON that it takes.
fn kind_and_json() -> impl Strategy<Value = (Kind, Json)> {
    let scalar = prop_oneof![
        any::<i32>().prop_map(|i| (Kind::Integer { big: false }, json!(i))),
        any::<i64>().prop_map(|i| (Kind::Integer { big: true }, json!(i.to_string()))),
        (-999_999_999_999i64..=999_999_999_999, 0u32..1_000_000).prop_map(|(a, b)| (Kind::Decimal, json!(format!("{a}.{b:06}")))),
        (-99_999_999_999_999i64..=99_999_999_999_999, 0u32..10_000, "[A-Z]{3}")
            .prop_map(|(a, b, c)| (Kind::Money, json!({ "amount": format!("{a}.{b:04}"), "currency": c }))),
        any::<bool>().prop_map(|b| (Kind::Boolean, json!(b))),
        "[^\u{0}]{0,40}".prop_map(|s| (Kind::String, json!(s))),
        (1i32..=9999, 1u32..=12, 1u32..=28).prop_map(|(y, m, d)| (Kind::Date, json!(format!("{y:04}-{m:02}-{d:02}")))),
        (1i32..=9998, 1u32..=12, 2u32..=27, 0u32..24, 0u32..1_000_000_000, -12i32..=12).prop_map(|(y, m, d, h, n, z)| {
            let sign = if z < 0 { '-' } else { '+' };
            (
                Kind::DateTime,
                json!(format!("{y:04}-{m:02}-{d:02}T{h:02}:30:15.{n:09}{sign}{:02}:00", z.abs())),
            )
        }),
        "\\+[1-9][0-9]{2,13}".prop_map(|s| (Kind::Phone, json!(s))),
        any::<u128>().prop_map(|u| (Kind::Id, json!(Uuid::from_u128(u).to_string()))),
    ];
    (scalar, 0usize..4).prop_map(|((kind, json), n)| match n {
        0 => (kind, json),
        n => (Kind::List(Box::new(kind)), Json::Array(vec![json; n])),
    })
}

proptest! {
    #[test]
    fn folding_twice_changes_nothing(text in "\\PC{0,30}") {
        if let Some(once) = name::fold(&text) {
            prop_assert!(name::is_legal(&once), "{once}");
            prop_assert_eq!(name::fold(&once), Some(once.clone()));
            let column = name::column(&once);
            prop_assert!(!column.is_empty() && column.len() <= name::LONGEST_COLUMN);
        }
        if let Some(once) = name::fold_enum(&text) {
            prop_assert!(name::is_legal(&once), "{once}");
            prop_assert_eq!(name::fold_enum(&once), Some(once));
        }
    }

    #[test]
    fn long_names_stay_apart(text in "[a-z]{60,90}") {
        let (a, b) = (name::column(&text), name::column(&format!("{text}x")));
        prop_assert!(a.len() <= name::LONGEST_COLUMN && b.len() <= name::LONGEST_COLUMN);
        prop_assert_ne!(a, b);
    }

    #[test]
    fn ids_come_back(bits in any::<u128>()) {
        let id = Uuid::from_u128(bits);
        let mut text = String::new();
        encode_base32(id, &mut text);
        prop_assert_eq!(decode_base32(&text), Some(id));
        let text = ObjectId(id).to_text("order_item");
        prop_assert_eq!(ObjectId::parse(&text), Some(("order_item", ObjectId(id))));
    }

    #[test]
    fn stored_values_come_back((kind, json) in kind_and_json()) {
        let value = accept(&kind, &json, &[]).expect("the strategy makes what the kind takes");
        let stored = value.to_json();
        prop_assert_eq!(accept(&kind, &stored, &[]).expect("its own form"), value.clone());
        prop_assert_eq!(accept::compare(&value, &value).is_none_or(|o| o.is_eq()), true);
        if let Value::DateTime(_) = value {
            prop_assert_eq!(stored.as_str().map(str::len), Some(27));
        }
    }
}
