//! What `klio explain` tells, on each database.

use klio_entities::store::Dialect;

use super::*;

#[tokio::test]
async fn an_operation_is_explained_in_the_api_s_own_terms() {
    each(|world| async move {
        let shop = world.shop().await;
        let sqlite = world.gateway.store.dialect() == Dialect::Sqlite;
        let explain = async |query: &str, variables: Json, analyze: bool| {
            let request = Request {
                query: query.into(),
                variables: variables.as_object().cloned().unwrap_or_default(),
                ..Request::default()
            };
            world.gateway.explain(&world.actor, &request, analyze).await
        };
        let query = "query($c: ID!, $day: Date!) {
            customer(id: $c) { name orders(first: 2) { nodes { orderNumber } } }
            byNumber: order(orderNumber: \"A-1\") { id }
            late: orders(filter: {day: {gt: $day}, paid: {eq: true}}) { totalCount nodes { id } }
            dear: orders(filter: {total: {gt: \"1\"}}) { nodes { id products { nodes { sku } } } }
            viewer { name } }";
        let variables = json!({"c": shop.ada.to_text("customer"), "day": "2026-11-03"});
        for analyze in [false, true] {
            let explained = explain(query, variables.clone(), analyze).await.expect("a plan");
            let keys: Vec<&str> = explained.iter().map(|it| it.key.as_str()).collect();
            assert_eq!(keys, ["customer", "byNumber", "late", "dear", "viewer"]);
            for it in &explained[..4] {
                let [reading] = it.reads.as_slice() else {
                    panic!("{it:?}");
                };
                assert!(it.cost > 0 && !reading.plan.is_empty() && !reading.finds.is_empty(), "{it:?}");
                assert_eq!(reading.took.is_some(), analyze);
                assert!(reading.sql.starts_with("select "), "{}", reading.sql);
            }
            let helps = |index: usize| explained[index].reads[0].helps.clone();
            assert_eq!((helps(0), helps(1), helps(3)), (vec![], vec![], vec![]));
            assert_eq!(helps(2), ["Order.day: `indexed` would help, since objects are picked by it"]);
            assert!(explained[4].reads.is_empty() && explained[4].notes == ["Answered from memory."]);
            // Tables of a few rows are read whole by Postgres, whatever indexes there are.
            if sqlite {
                let finds = |index: usize| explained[index].reads[0].finds.join("; ");
                assert!(
                    finds(0).contains("Customer: by id") && finds(0).contains("Order: by customer"),
                    "{}",
                    finds(0)
                );
                assert!(finds(1).contains("Order: by orderNumber"), "{}", finds(1));
                assert!(
                    finds(3).contains("Order: all, in the order of an index") && finds(3).contains("Product: by id"),
                    "{}",
                    finds(3)
                );
            }
        }
        let node = explain(
            "query($id: ID!) { node(id: $id) { id } }",
            json!({"id": shop.orders[0].to_text("order")}),
            true,
        );
        let node = node.await.expect("a plan");
        assert!(
            node[0].reads.len() == 1 && node[0].reads[0].finds[0].starts_with("Order: "),
            "{node:?}"
        );
        // What writes is not run.
        let write = "mutation { createProduct(input: {sku: \"new\"}) { product { sku } } }";
        let told = explain(write, json!({}), true).await.expect("a plan");
        assert!(told[0].reads.is_empty() && told[0].notes[0].contains("not run"), "{told:?}");
        let data = world
            .data("{ products(filter: {sku: {eq: \"new\"}}) { totalCount } }", json!({}))
            .await;
        assert_eq!(data["products"]["totalCount"], 0);
        let wrong = explain("{ nothing }", json!({}), false).await.expect_err("it is not valid");
        assert!(wrong[0].message.contains("nothing"), "{wrong:?}");
    })
    .await;
}
