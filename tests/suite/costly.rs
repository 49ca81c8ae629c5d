//! Documents that cost other servers seconds of work: refused at the door at once, with the name of the limit.

use std::time::{Duration, Instant};

use klio_tests::{Backend, Product};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn what_would_cost_seconds_is_refused_at_once() {
    let product = Product::start(Backend::Sqlite).await.expect("SQLite is always there");
    let mut chain = String::from("{...f0}");
    for i in 0..20 {
        chain.push_str(&format!(" fragment f{i} on Query{{...f{n} ...f{n}}}", n = i + 1));
    }
    chain.push_str(" fragment f20 on Query{__typename}");
    assert!((700..900).contains(&chain.len()), "{}", chain.len());
    let wide = format!(
        "{{ customers {{ nodes {{ {} }} }} }} fragment f on Customer {{ {} }}",
        "...f ".repeat(500),
        "name ".repeat(500)
    );
    let many: String = (0..500).map(|i| format!("fragment f{i} on Customer {{ name }} ")).collect();
    let many = format!("{{ customers {{ nodes {{ name }} }} }} {many}");
    let aliases: String = (0..1_000).map(|i| format!("a{i}: name ")).collect();
    let aliases = format!("{{ customers {{ nodes {{ {aliases} }} }} }}");
    let directives = format!("{{ __typename {} }}", "@a ".repeat(10_000));
    let guard = Duration::from_millis(if cfg!(debug_assertions) { 50 } else { 5 });
    for (text, limit) in [
        (chain, "fields"),
        (wide, "fields"),
        (many, "fragments"),
        (aliases, "aliases"),
        (directives, "directives"),
    ] {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let began = Instant::now();
            let answer = product.ask(&text, json!({})).await;
            best = best.min(began.elapsed());
            let error = &answer["errors"][0];
            assert_eq!(error["extensions"]["limit"], limit, "{answer}");
            assert_eq!(error["extensions"]["code"], "TOO_COSTLY", "{answer}");
            assert!(answer.get("data").is_none(), "{answer}");
        }
        eprintln!("{limit}: {} bytes refused in {best:?}", text.len());
        assert!(best <= guard, "{limit}: {best:?}, at most {guard:?}");
    }
}
