//! The door: who may come in, and what may be brought.

use std::time::{Duration, Instant};

use klio_tests::{Backend, Product, until};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::sockets::acked;

pub(crate) async fn start(sets: &[&str]) -> Product {
    Product::start_with(Backend::Sqlite, sets).await.expect("SQLite is always there")
}

fn post(product: &Product) -> reqwest::RequestBuilder {
    reqwest::Client::new()
        .post(format!("{}/graphql", product.url))
        .header("content-type", "application/json")
}

async fn told(request: reqwest::RequestBuilder) -> (u16, reqwest::header::HeaderMap, Json) {
    let answer = request.send().await.expect("the gateway answers");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.expect("a whole answer");
    let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}, not JSON: {text}"));
    (status, headers, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_a_token_that_is_good() {
    let product = start(&[]).await;
    let query = json!({"query": "{ __typename }"});
    let (status, headers, body) = told(post(&product).json(&query)).await;
    assert_eq!((status, &body["errors"][0]["extensions"]["code"]), (401, &json!("UNAUTHENTICATED")));
    assert!(body.get("data").is_none());
    assert_eq!(headers["www-authenticate"], "Bearer realm=\"klio\"");
    for wrong in ["klio_wrong", "eyJhbGciOiJub25lIn0.e30.", "x"] {
        let (status, headers, body) = told(post(&product).bearer_auth(wrong).json(&query)).await;
        assert_eq!(
            (status, &body["errors"][0]["extensions"]["code"]),
            (401, &json!("UNAUTHENTICATED")),
            "{wrong}"
        );
        assert!(headers["www-authenticate"].to_str().expect("text").contains("invalid_token"));
        assert!(!body.to_string().contains(wrong) || wrong == "x", "a token is not said back");
    }
    // A token in the URL is none.
    let url = format!(
        "{}/graphql?query=%7B__typename%7D&token={t}&access_token={t}",
        product.url,
        t = product.token
    );
    assert_eq!(reqwest::get(url).await.expect("an answer").status(), 401);
    for path in ["/schema.graphql"] {
        assert_eq!(
            reqwest::get(format!("{}{path}", product.url)).await.expect("an answer").status(),
            401,
            "{path}"
        );
    }
    for path in ["/", "/health/live", "/health/ready", "/metrics"] {
        assert_eq!(
            reqwest::get(format!("{}{path}", product.url)).await.expect("an answer").status(),
            200,
            "{path}"
        );
    }
    // Revoked, as the command line does it: behind the running gateway's back.
    let store = &product.running().app.store;
    let (status, ..) = told(post(&product).bearer_auth(&product.token).json(&query)).await;
    assert_eq!(status, 200);
    let token = &store.tokens(None).await.expect("tokens")[0];
    assert!(store.revoke_token(token.org, token.id).await.expect("a revocation"));
    let began = Instant::now();
    until("the revoked token is refused", async || {
        let (status, ..) = told(post(&product).bearer_auth(&product.token).json(&query)).await;
        (status == 401).then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_millis(1_500), "it took {:?}", began.elapsed());
}

fn hs256(secret: &str, claims: &Json) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).expect("a JWT")
}

#[tokio::test(flavor = "multi_thread")]
async fn jwts_come_in_when_a_key_is_set() {
    let secret = "a secret of thirty-two bytes or more";
    let product = start(&[&format!("auth.jwt_secret={secret}")]).await;
    let signed = hs256(
        secret,
        &json!({"org": "acme", "role": "reader", "sub": "u1", "name": "Una", "exp": 4_102_444_800_u64}),
    );
    let query = json!({"query": "{ customers(first: 1) { totalCount } }"});
    let (status, _, body) = told(post(&product).bearer_auth(&signed).json(&query)).await;
    assert_eq!((status, &body["data"]["customers"]["totalCount"]), (200, &json!(0)), "{body}");
    let of_another_org = hs256(
        secret,
        &json!({"org": "nope", "role": "owner", "sub": "u1", "exp": 4_102_444_800_u64}),
    );
    let expired = hs256(secret, &json!({"org": "acme", "role": "owner", "sub": "u1", "exp": 1}));
    let forged = hs256(
        "another secret of thirty-two bytes",
        &json!({"org": "acme", "role": "owner", "sub": "u1", "exp": 4_102_444_800_u64}),
    );
    for wrong in [of_another_org, expired, forged] {
        assert_eq!(told(post(&product).bearer_auth(&wrong).json(&query)).await.0, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_may_be() {
    let product = start(&["http.body_limit=2KiB", "limits.batch=3"]).await;
    let send = |content_type: &'static str, body: String| {
        let client = reqwest::Client::new();
        let request = client.post(format!("{}/graphql", product.url)).bearer_auth(&product.token);
        told(
            request
                .header("content-type", content_type)
                .header("accept", "application/graphql-response+json")
                .body(body),
        )
    };
    let good = r#"{"query":"{ __typename }"}"#;
    // What a form of a foreign page can send without being asked is never read.
    for simple in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
    ] {
        let (status, _, body) = send(simple, good.into()).await;
        assert_eq!(
            (status, &body["errors"][0]["extensions"]["code"]),
            (415, &json!("BAD_INPUT")),
            "{simple}"
        );
    }
    let (status, _, body) = send("application/json", format!(r#"{{"query":"{}"}}"#, "x".repeat(3_000))).await;
    assert_eq!((status, &body["errors"][0]["extensions"]["code"]), (413, &json!("TOO_COSTLY")));
    // Without a length that could be looked at first.
    let mut stream = TcpStream::connect(product.url.trim_start_matches("http://"))
        .await
        .expect("a connection");
    let token = &product.token;
    let header = format!(
        "POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream
        .write_all(format!("{header}bb8\r\n{}\r\n", "x".repeat(3_000)).as_bytes())
        .await
        .expect("it takes bytes");
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 413");

    let (status, _, body) = send("application/json", format!("[{good},{{\"query\":\"{{ nope }}\"}},{{}}]")).await;
    assert_eq!(status, 200);
    assert_eq!(body[0]["data"]["__typename"], "Query");
    assert_eq!(body[1]["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED");
    assert_eq!(body[2]["errors"][0]["extensions"]["code"], "BAD_INPUT");
    let (status, _, body) = send("application/json", format!("[{good},{good},{good},{good}]")).await;
    assert_eq!((status, &body["errors"][0]["extensions"]["code"]), (400, &json!("TOO_COSTLY")));
    assert_eq!(send("application/json", "[]".into()).await.0, 400);

    let get = |query: &str| {
        let url = format!("{}/graphql?query={query}", product.url);
        told(reqwest::Client::new().get(url).bearer_auth(&product.token))
    };
    let (status, headers, _) = get("mutation%20%7B%20__typename%20%7D").await;
    assert_eq!((status, headers["allow"].to_str().ok()), (405, Some("POST")));
    let (status, _, body) = get("query%20A%20%7B%20__typename%20%7D&operationName=A&variables=%7B%7D").await;
    assert_eq!((status, &body["data"]["__typename"]), (200, &json!("Query")));
    let (status, ..) = get("%7B__typename%7D&query=%7B__typename%7D").await;
    assert_eq!(status, 400, "a parameter given twice");

    let request = reqwest::Client::new()
        .patch(format!("{}/graphql", product.url))
        .bearer_auth(&product.token);
    let (status, headers, _) = told(request).await;
    assert_eq!((status, headers["allow"].to_str().ok()), (405, Some("GET, POST")));
    let (status, ..) = told(post(&product).bearer_auth(&product.token).header("accept", "text/csv").body(good)).await;
    assert_eq!(status, 406);
    let (status, ..) = told(reqwest::Client::new().get(format!("{}/nothing", product.url))).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_both_ways() {
    let product = start(&["http.cors_origins=https://app.example.com"]).await;
    let query = json!({"query": "{ __typename }"});
    let id = |given: Option<&'static str>| {
        let request = post(&product).bearer_auth(&product.token).json(&query);
        let request = match given {
            Some(given) => request.header("x-request-id", given),
            None => request,
        };
        async move { told(request).await.1["x-request-id"].to_str().expect("text").to_owned() }
    };
    assert_eq!(id(Some("abc-1")).await, "abc-1");
    assert_eq!(id(None).await.len(), 36);
    assert_eq!(id(Some("not fit for a log")).await.len(), 36);

    let schema = |encoding: &'static str| {
        let request = reqwest::Client::new()
            .get(format!("{}/schema.graphql", product.url))
            .bearer_auth(&product.token);
        async move { request.header("accept-encoding", encoding).send().await.expect("an answer") }
    };
    let packed = schema("gzip").await;
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let etag = packed.headers()["etag"].clone();
    let plain = schema("identity").await;
    assert!(plain.headers().get("content-encoding").is_none());
    assert!(plain.bytes().await.expect("a body").len() > 4 * packed.bytes().await.expect("a body").len());
    let again = reqwest::Client::new()
        .get(format!("{}/schema.graphql", product.url))
        .bearer_auth(&product.token)
        .header("if-none-match", etag);
    assert_eq!(again.send().await.expect("an answer").status(), 304);
    let small = post(&product)
        .bearer_auth(&product.token)
        .header("accept-encoding", "gzip")
        .json(&query)
        .send()
        .await
        .expect("an answer");
    assert!(small.headers().get("content-encoding").is_none(), "a small answer is sent as it is");

    let preflight = |origin: &'static str| {
        let request = reqwest::Client::new().request(reqwest::Method::OPTIONS, format!("{}/graphql", product.url));
        let request = request.header("origin", origin).header("access-control-request-method", "POST");
        async move {
            let answer = request
                .header("access-control-request-headers", "authorization,content-type")
                .send()
                .await
                .expect("an answer");
            answer
                .headers()
                .get("access-control-allow-origin")
                .map(|value| value.to_str().expect("text").to_owned())
        }
    };
    assert_eq!(
        preflight("https://app.example.com").await.as_deref(),
        Some("https://app.example.com")
    );
    assert_eq!(preflight("https://evil.example").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_does_not_end_is_not_waited_for() {
    let product = start(&["http.read_timeout=1s"]).await;
    let address = product.url.trim_start_matches("http://");
    for beginning in ["", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", "PRI * HT"] {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(beginning.as_bytes()).await.expect("it takes bytes");
        let began = Instant::now();
        let mut rest = Vec::new();
        // Whether by an end or a reset: it is over.
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest))
            .await
            .expect("an end within 5 s");
        assert!(
            began.elapsed() > Duration::from_millis(700),
            "{beginning:?}: after {:?}",
            began.elapsed()
        );
    }
    // A body that does not come.
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let header = format!(
        "POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        product.token
    );
    stream.write_all(header.as_bytes()).await.expect("it takes bytes");
    let mut answer = vec![0; 12];
    tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer))
        .await
        .expect("an answer within 5 s")
        .expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 408");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_to_those_who_watch() {
    let product = start(&[]).await;
    product.ask("query Known { customers(first: 1) { totalCount } }", json!({})).await;
    let _socket = acked(&product, &product.token).await;
    let text = reqwest::get(format!("{}/metrics", product.url))
        .await
        .expect("an answer")
        .text()
        .await
        .expect("a text");
    for part in [
        "klio_http_requests_total{method=\"POST\",route=\"/graphql\",status=\"200\"} 1",
        "klio_operations_total{kind=\"query\",outcome=\"executed\",way=\"http\"} 1",
        "klio_sockets 1",
        "klio_operation_seconds_count{way=\"http\"} 1",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    for part in ["acme", "Known", "customers", product.token.as_str()] {
        assert!(!text.contains(part), "{part} is in the metrics");
    }
    let ready = reqwest::get(format!("{}/health/ready", product.url)).await.expect("an answer");
    assert_eq!(ready.status(), 200);
    assert_eq!(
        ready.json::<Json>().await.expect("JSON"),
        json!({"status": "ready", "parts": {"database": "ok", "door": "ok"}})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_explorer_in_a_browser() {
    if !klio_api::http::explorer::is_built_in() {
        eprintln!("SKIPPED: the explorer is not built in (tests/run builds it: api/graphiql)");
        return;
    }
    if !std::path::Path::new("/usr/bin/chromium").exists() && std::env::var_os("CHROMIUM").is_none() {
        eprintln!("SKIPPED: there is no chromium (tests/run installs it; CHROMIUM says where another is)");
        return;
    }
    let product = start(&[]).await;
    if let Some(Err(report)) = klio_tests::node::run("explorer.mjs", &[&product.url, &product.token]).await {
        panic!("{report}");
    }
}
