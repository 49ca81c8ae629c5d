//! Text in, text out: what typical reads become. `UPDATE_EXPECT=1` writes the texts anew; read the difference.

use expect_test::{Expect, expect};

use super::*;
use crate::klass::filter::{ContactKind, Quantifier};
use crate::klass::query::Key;

fn check(read: &Read, postgres: Expect, sqlite: Expect) {
    let registry = registry(nil());
    let show = |dialect| {
        let statement = compile(dialect, &registry, read);
        let mut out = statement.sql.to_string();
        for (i, bind) in statement.binds.iter().enumerate() {
            out.push_str(&format!("\n{}: {:?} as {:?}", i + 1, bind.source, bind.form));
        }
        out
    };
    postgres.assert_eq(&show(Dialect::Postgres));
    sqlite.assert_eq(&show(Dialect::Sqlite));
}

fn klass(name: &str) -> Arc<Klass> {
    registry(nil()).klass(name).unwrap().clone()
}

#[test]
fn one_object_with_what_hangs_on_it() {
    let (order, customer) = (klass("order"), klass("customer"));
    let read = Read::One {
        klass: order.clone(),
        key: Key::Id(Operand::Arg(0)),
        deleted: false,
        outputs: vec![
            value(&order, "id"),
            value(&order, "total"),
            Output::One {
                end: end(&order, "customer"),
                klass: customer.clone(),
                outputs: vec![value(&customer, "name"), value(&customer, "tier")],
            },
        ],
    };
    check(
        &read,
        expect![[r#"
        select (json_build_array(t1."id", case when t1."total" is not null then json_build_array(t1."total", t1."total_currency") end, (select json_build_array(t2."name", t2x."tier") from "customer" t2 left join "org_shop"."customer_extension" t2x on t2x."id" = t2."id" where t2."id" = t1."customer_id" and t2."org_id" = $1::uuid and t2."deleted_at" is null)))::text from "org_shop"."order" t1 where t1."deleted_at" is null and t1."id" = $2::uuid limit 1
        1: Org as Id
        2: Arg(0) as Id"#]],
        expect![[r#"
            select json_array(hex(t1."id"), case when t1."total" is not null then json_array(t1."total", t1."total_currency") end, (select json_array(t2."name", t2x."tier") from "customer" t2 left join "org_shop__customer_extension" t2x on t2x."id" = t2."id" where t2."id" = t1."customer_id" and +t2."org_id" = ?1 and t2."deleted_at" is null)) from "org_shop__order" t1 where t1."deleted_at" is null and t1."id" = ?2 limit 1
            1: Org as Id
            2: Arg(0) as Id"#]],
    );
}

#[test]
fn a_customer_by_contact_point() {
    let customer = klass("customer");
    let read = Read::One {
        klass: customer.clone(),
        key: Key::Contact(ContactKind::Email, Operand::Arg(0)),
        deleted: false,
        outputs: vec![value(&customer, "name")],
    };
    check(
        &read,
        expect![[r#"
            select (json_build_array(t1."name"))::text from "customer" t1 where t1."org_id" = $1::uuid and t1."deleted_at" is null and t1."id" in (select t2."customer_id" from "contact_point" t2 where t2."org_id" = $1::uuid and t2."kind" = $2::text and t2."value" = $3::text) limit 1
            1: Org as Id
            2: Const(String("email")) as Text
            3: Arg(0) as Contact(Email)"#]],
        expect![[r#"
            select json_array(t1."name") from "customer" t1 where t1."org_id" = ?1 and t1."deleted_at" is null and t1."id" in (select t2."customer_id" from "contact_point" t2 where t2."org_id" = ?1 and t2."kind" = ?2 and t2."value" = ?3) limit 1
            1: Org as Id
            2: Const(String("email")) as Text
            3: Arg(0) as Contact(Email)"#]],
    );
}

#[test]
fn a_page_with_an_order_a_filter_and_a_position() {
    let (order, customer, product) = (klass("order"), klass("customer"), klass("product"));
    let products = end(&order, "products");
    let quantity = link_property(&products, "quantity");
    let related = Filter::Related {
        end: products.clone(),
        klass: product.clone(),
        quantifier: Quantifier::Some,
        filter: Box::new(Filter::And(vec![
            compare(&product, "name", Op::Contains { fold: true }, text("tea")),
            Filter::Compare {
                target: Target::Link(quantity.clone()),
                op: Op::Gt,
                operand: Operand::Arg(0),
            },
        ])),
    };
    let mut inner = page(&product)
        .limit(3)
        .order(vec![asc(&product, "name")])
        .outputs(vec![value(&product, "name"), Output::Link(quantity), Output::Cursor])
        .0;
    inner.total = true;
    let read = page(&order)
        .filter(Filter::And(vec![
            compare(&order, "status", Op::In, texts(&["done", "pending"])),
            Filter::Not(Box::new(related)),
        ]))
        .order(vec![
            Order {
                through: vec![end(&order, "customer")],
                by: OrderBy::Property(property(&customer, "tier")),
                descending: true,
                nulls_first: false,
            },
            asc(&order, "serial"),
        ])
        .after(Position {
            keys: vec![None, Some(Operand::Arg(1))],
            id: Operand::Arg(2),
        })
        .outputs(vec![
            value(&order, "number"),
            Output::Many {
                end: products,
                page: Box::new(inner),
            },
            Output::Cursor,
        ])
        .read();
    check(
        &read,
        expect![[r#"
        select (json_build_array((select coalesce(json_agg(json_build_array(p1."number", json_build_array((select coalesce(json_agg(json_build_array(p2."name", p2."l.quantity", json_build_array(p2."k1", p2."k2"))), '[]') from (select t4."name" as "name", t4l."quantity" as "l.quantity", t4."name" as "k1", t4."id" as "k2" from "org_shop"."order_products" t4l join "org_shop"."product" t4 on t4."id" = t4l."to_id" where t4l."from_id" = p1."id" and t4."deleted_at" is null order by t4."name", t4."id" limit 4) p2), (select count(*) from "org_shop"."order_products" t5l join "org_shop"."product" t5 on t5."id" = t5l."to_id" where t5l."from_id" = p1."id" and t5."deleted_at" is null), null, json_build_array()), json_build_array(p1."k1", p1."k2", p1."k3"))), '[]') from (select t1."number" as "number", t1."id" as "id", t3x."tier" as "k1", t1."serial" as "k2", t1."id" as "k3" from "org_shop"."order" t1 left join "customer" t3 on t3."id" = t1."customer_id" and t3."org_id" = $1::uuid and t3."deleted_at" is null left join "org_shop"."customer_extension" t3x on t3x."id" = t3."id" where t1."deleted_at" is null and t1."status" = any($2::text[]) and not exists (select 1 from "org_shop"."order_products" t2l join "org_shop"."product" t2 on t2."id" = t2l."to_id" where t2l."from_id" = t1."id" and t2."deleted_at" is null and lower(t2."name" collate "default") like lower($3::text collate "default") and t2l."quantity" > $4::int8) and (t3x."tier" is null and (t1."serial" > $5::int8 or t1."serial" = $5::int8 and t1."id" > $6::uuid)) order by t3x."tier" desc nulls last, t1."serial", t1."id" limit 101) p1), null, null, json_build_array()))::text
        1: Org as Id
        2: Const(List([String("done"), String("pending")])) as List(Text)
        3: Const(String("tea")) as Like { before: true, after: true }
        4: Arg(0) as Integer
        5: Arg(1) as Integer
        6: Arg(2) as Id"#]],
        expect![[r#"
            select json_array((select json_group_array(json_array(p1."number", json_array((select json_group_array(json_array(p2."name", p2."l.quantity", json_array(p2."k1", hex(p2."k2")))) from (select t4."name" as "name", t4l."quantity" as "l.quantity", t4."name" as "k1", t4."id" as "k2" from "org_shop__order_products" t4l join "org_shop__product" t4 on t4."id" = t4l."to_id" where t4l."from_id" = p1."id" and t4."deleted_at" is null order by t4."name" nulls last, t4."id" limit 4) p2), (select count(*) from "org_shop__order_products" t5l join "org_shop__product" t5 on t5."id" = t5l."to_id" where t5l."from_id" = p1."id" and t5."deleted_at" is null), null, json_array()), json_array(p1."k1", p1."k2", hex(p1."k3")))) from (select t1."number" as "number", t1."id" as "id", t3x."tier" as "k1", t1."serial" as "k2", t1."id" as "k3" from "org_shop__order" t1 left join "customer" t3 on t3."id" = t1."customer_id" and +t3."org_id" = ?1 and t3."deleted_at" is null left join "org_shop__customer_extension" t3x on t3x."id" = t3."id" where t1."deleted_at" is null and t1."status" in (select value from json_each(?2)) and not exists (select 1 from "org_shop__order_products" t2l join "org_shop__product" t2 on t2."id" = t2l."to_id" where t2l."from_id" = t1."id" and t2."deleted_at" is null and instr(fold(t2."name"), fold(?3)) > 0 and t2l."quantity" > ?4) and (t3x."tier" is null and (t1."serial" > ?5 or t1."serial" = ?5 and t1."id" > ?6)) order by t3x."tier" desc, t1."serial", t1."id" limit 101) p1), null, null, json_array())
            1: Org as Id
            2: Const(List([String("done"), String("pending")])) as List(Text)
            3: Const(String("tea")) as Text
            4: Arg(0) as Integer
            5: Arg(1) as Integer
            6: Arg(2) as Id"#]],
    );
}
