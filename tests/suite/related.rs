//! A subscription's result is what a query would answer: what its selection and its filter read beside the objects counts as well, and
//! so it does for whoever was away meanwhile.

use std::time::Duration;

use futures_util::StreamExt;
use klio_client::{Client, Subscription};
use klio_tests::{Product, on_each_database};
use serde_json::{Value as Json, json};

on_each_database!(
    a_change_of_the_company_is_told_of_its_customers,
    a_filter_over_conversations_says_who_needs_care
);

async fn next(changes: &mut Subscription) -> Json {
    let next = tokio::time::timeout(Duration::from_secs(20), changes.next())
        .await
        .expect("in time");
    let data = next.expect("it goes on").expect("a message");
    data.as_object().and_then(|it| it.values().next()).cloned().unwrap_or_default()
}

/// An object's id out of a payload.
fn id(data: &Json, mutation: &str, object: &str) -> String {
    data[mutation][object]["id"].as_str().unwrap_or_else(|| panic!("{data}")).to_owned()
}

async fn a_change_of_the_company_is_told_of_its_customers(mut product: Product) {
    let make = "mutation { createCompany(input: {name: \"Acme\"}) { company { id } errors { message } } }";
    let company = id(&product.data(make, json!({})).await, "createCompany", "company");
    let make = "mutation ($n: String!, $c: ID!) { createCustomer(input: {name: $n, company: {connect: {id: $c}}}) { customer { id } errors { message } } }";
    let mut customers = Vec::new();
    for name in ["Ann", "Bob"] {
        customers.push(id(
            &product.data(make, json!({"n": name, "c": company})).await,
            "createCustomer",
            "customer",
        ));
    }
    let rename = "mutation ($id: ID!, $n: String!) { updateCompany(id: $id, set: {name: $n}) { errors { message } } }";
    let all = "subscription { customerChanged { change cursor customer { name company { name } } } }";
    let one = "subscription ($id: ID!) { customerChanged(id: $id) { change cursor customer { name company { name } } } }";
    let client = Client::new(&product.url, &product.token);
    let mut feed = client.subscribe(all, json!({}));
    let mut ann = client.subscribe(one, json!({ "id": customers[0] }));
    for changes in [&mut feed, &mut ann] {
        assert_eq!(next(changes).await["change"], "CAUGHT_UP");
    }
    product.data(rename, json!({"id": company, "n": "Apex"})).await;
    let mut names = Vec::new();
    for changes in [&mut feed, &mut ann] {
        let message = next(changes).await;
        assert_eq!(
            (&message["change"], &message["customer"]["company"]["name"]),
            (&json!("UPDATED"), &json!("Apex")),
            "{message}"
        );
        names.push(message["customer"]["name"].as_str().unwrap_or_default().to_owned());
    }
    names.push(next(&mut feed).await["customer"]["name"].as_str().unwrap_or_default().to_owned());
    names.sort();
    assert_eq!(names, ["Ann", "Ann", "Bob"]);
    // And after a while without a gateway, behind the last cursor.
    let cursor = ann.cursor().map(str::to_owned);
    drop((feed, ann));
    product.data(rename, json!({"id": company, "n": "Zenith"})).await;
    product.restart().await;
    let client = Client::new(&product.url, &product.token);
    let mut ann = client.subscribe_after(one, json!({ "id": customers[0] }), cursor);
    let message = next(&mut ann).await;
    assert_eq!(message["customer"]["company"]["name"], "Zenith", "{message}");
    assert_eq!(next(&mut ann).await["change"], "CAUGHT_UP");
}

async fn a_filter_over_conversations_says_who_needs_care(product: Product) {
    let make = "mutation { createCustomer(input: {name: \"Ann\"}) { customer { id } errors { message } } }";
    let ann = id(&product.data(make, json!({})).await, "createCustomer", "customer");
    let urgent = "subscription { customerChanged(filter: {conversations: {some: {priority: {gte: 4}, status: {eq: OPEN}}}}) { change id customer { name } } }";
    let client = Client::new(&product.url, &product.token);
    let mut care = client.subscribe(urgent, json!({}));
    assert_eq!(next(&mut care).await["change"], "CAUGHT_UP");
    let begin = "mutation ($c: ID!, $p: Int!) { createConversation(input: {name: \"Help\", priority: $p, customer: {connect: {id: $c}}}) { conversation { id } errors { message } } }";
    product.data(begin, json!({"c": ann, "p": 1})).await;
    let conversation = id(
        &product.data(begin, json!({"c": ann, "p": 5})).await,
        "createConversation",
        "conversation",
    );
    let message = next(&mut care).await;
    assert_eq!(
        (&message["change"], &message["customer"]["name"]),
        (&json!("ADDED"), &json!("Ann")),
        "{message}"
    );
    let finish = "mutation ($id: ID!) { updateConversation(id: $id, set: {status: DONE}) { errors { message } } }";
    product.data(finish, json!({ "id": conversation })).await;
    let mut message = next(&mut care).await;
    // What else the same writes changed of the customer may come by itself.
    while message["change"] == "UPDATED" {
        message = next(&mut care).await;
    }
    assert_eq!((&message["change"], &message["id"]), (&json!("REMOVED"), &json!(ann)), "{message}");
}
