//! The socket's rules, case by case, and any sequence of them.

use super::*;

const INIT: &str = r#"{"type":"connection_init","payload":{"token":"t"}}"#;
const ACK: &str = r#"send {"type":"connection_ack"}"#;

/// Plays inputs, one a line, and tells outputs, one a line: `> text` a message, `! what` another input.
fn play(script: &str) -> Vec<String> {
    let mut protocol = Protocol::new(Limits {
        operations: 2,
        starts_per_second: 3,
    });
    let mut told = Vec::new();
    let mut at = Duration::ZERO;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let input = match line.split_once(' ').unwrap_or((line, "")) {
            (">", "INIT") => Input::Text(INIT.into(), at),
            (">", text) => Input::Text(text.into(), at),
            ("!", "binary") => Input::Binary,
            ("!", "large") => Input::TooLarge(9),
            ("!", "accepted") => Input::Accepted { refresh: false },
            ("!", "refreshed") => Input::Accepted { refresh: true },
            ("!", "refused") => Input::Refused("Forbidden".into()),
            ("!", "busy") => Input::Busy("Try again later".into()),
            ("!", "timeout") => Input::InitTimeout,
            ("!", "expired") => Input::End(End::Expired),
            ("!", "revoked") => Input::End(End::Revoked),
            ("!", "drain") => Input::End(End::Drain),
            ("!", "second") => {
                at += Duration::from_millis(1_001);
                continue;
            }
            ("next", key) => Input::Next(key.parse().expect("a key"), Bytes::from_static(b"{\"data\":1}")),
            ("failed", key) => Input::Failed(key.parse().expect("a key"), b"[{\"message\":\"m\"}]".to_vec()),
            ("done", key) => Input::Done(key.parse().expect("a key")),
            other => panic!("no such line: {other:?}"),
        };
        for output in protocol.on(input) {
            told.push(match output {
                Output::Send(text) => {
                    serde_json::from_str::<Value>(&text).expect("what is sent is JSON");
                    format!("send {text}")
                }
                Output::Close(code, why) => format!("close {code} {why}"),
                Output::Verify { payload, refresh } => format!("verify {} {refresh}", Value::Object(payload)),
                Output::Start(key, params) => format!("start {key} {}", params.query),
                Output::Stop(key) => format!("stop {key}"),
            });
        }
    }
    told
}

/// The same, from an acknowledged connection on.
fn ready(script: &str) -> Vec<String> {
    let told = play(&format!("> INIT\n! accepted\n{script}"));
    assert_eq!(told[..2], [r#"verify {"token":"t"} false"#.to_owned(), ACK.to_owned()]);
    told[2..].to_vec()
}

#[test]
fn what_closes_a_connection_that_is_not_yet_ready() {
    for (script, code) in [
        ("! timeout", "close 4408 Connection initialisation timeout"),
        ("! binary", "close 4400"),
        ("> nonsense", "close 4400"),
        ("> []", "close 4400"),
        ("> {}", "close 4400"),
        (r#"> {"type":7}"#, "close 4400"),
        (r#"> {"type":"start"}"#, "close 4400 There is no message of type start"),
        (r#"> {"type":"connection_ack"}"#, "close 4400"),
        (r#"> {"type":"connection_init","payload":"x"}"#, "close 4400"),
        (
            r#"> {"type":"subscribe","id":"1","payload":{"query":"{a}"}}"#,
            "close 4401 Unauthorized",
        ),
        ("! drain", "close 1012"),
    ] {
        let told = play(script);
        assert_eq!(told.len(), 1, "{script}: {told:?}");
        assert!(told[0].starts_with(code), "{script}: {told:?}");
    }
    let verify = r#"verify {"token":"t"} false"#;
    for (script, code) in [
        ("> INIT\n> INIT", "close 4429"),
        (
            "> INIT\n> {\"type\":\"subscribe\",\"id\":\"1\",\"payload\":{\"query\":\"{a}\"}}",
            "close 4401",
        ),
        ("> INIT\n! refused", "close 4403 Forbidden"),
        ("> INIT\n! busy", "close 1013 Try again later"),
    ] {
        let told = play(script);
        assert_eq!((told.len(), told[0].as_str()), (2, verify), "{script}: {told:?}");
        assert!(told[1].starts_with(code), "{script}: {told:?}");
    }
}

#[test]
fn what_closes_a_ready_connection() {
    let subscribe = r#"> {"type":"subscribe","id":"1","payload":{"query":"{a}"}}"#;
    for (script, code) in [
        ("> INIT".to_owned(), "close 4429 Too many initialisation requests"),
        ("! expired".to_owned(), "close 4403 The token has expired"),
        ("! revoked".to_owned(), "close 4403 The token was revoked or changed"),
        ("! drain".to_owned(), "close 1012"),
        ("! binary".to_owned(), "close 4400"),
        ("! large".to_owned(), "close 1009 A message has at most 9 bytes"),
        (r#"> {"type":"subscribe","payload":{"query":"{a}"}}"#.to_owned(), "close 4400"),
        (
            r#"> {"type":"subscribe","id":"","payload":{"query":"{a}"}}"#.to_owned(),
            "close 4400",
        ),
        (
            r#"> {"type":"subscribe","id":1,"payload":{"query":"{a}"}}"#.to_owned(),
            "close 4400",
        ),
        (
            format!(
                r#"> {{"type":"subscribe","id":"{}","payload":{{"query":"{{a}}"}}}}"#,
                "x".repeat(257)
            ),
            "close 4400",
        ),
        (r#"> {"type":"subscribe","id":"1"}"#.to_owned(), "close 4400"),
        (
            r#"> {"type":"subscribe","id":"1","payload":{}}"#.to_owned(),
            "close 4400 The parameter \"query\" is missing.",
        ),
        (
            r#"> {"type":"subscribe","id":"1","payload":{"query":"{a}","variables":[]}}"#.to_owned(),
            "close 4400",
        ),
        (r#"> {"type":"complete"}"#.to_owned(), "close 4400"),
        (r#"> {"type":"next","id":"1","payload":{}}"#.to_owned(), "close 4400"),
    ] {
        let told = ready(&script);
        assert_eq!(told.len(), 1, "{script}: {told:?}");
        assert!(told[0].starts_with(code), "{script}: {told:?}");
        assert_eq!(
            ready(&format!("{script}\n{subscribe}\n! drain\n> junk")).len(),
            1,
            "{script}: nothing may follow a close"
        );
    }
    let told = ready(&format!("{subscribe}\n{subscribe}"));
    assert_eq!(told, ["start 1 {a}", "close 4409 Subscriber for 1 already exists"]);
}

#[test]
fn an_operation_from_start_to_end() {
    let subscribe = r#"> {"type":"subscribe","id":"a\"b","payload":{"query":"{a}"}}"#;
    let next = r#"send {"id":"a\"b","type":"next","payload":{"data":1}}"#;
    assert_eq!(
        ready(&format!("{subscribe}\nnext 1\nnext 1\ndone 1\nnext 1\ndone 1")),
        ["start 1 {a}", next, next, r#"send {"id":"a\"b","type":"complete"}"#]
    );
    assert_eq!(
        ready(&format!("{subscribe}\nfailed 1\ndone 1\nnext 1")),
        ["start 1 {a}", r#"send {"id":"a\"b","type":"error","payload":[{"message":"m"}]}"#],
        "nothing follows an error"
    );
    // The client ends it: no complete comes back, late results are dropped, and the id may be used again.
    let complete = r#"> {"type":"complete","id":"a\"b"}"#;
    let again = next.to_owned();
    assert_eq!(
        ready(&format!(
            "{subscribe}\n{complete}\nnext 1\ndone 1\n{complete}\n{subscribe}\nnext 1\nnext 2"
        )),
        ["start 1 {a}".to_owned(), "stop 1".into(), "start 2 {a}".into(), again]
    );
}

#[test]
fn pings_and_pongs() {
    assert_eq!(play(r#"> {"type":"ping"}"#), [r#"send {"type":"pong"}"#]);
    assert_eq!(
        play(r#"> {"type":"ping","payload":{"a":1}}"#),
        [r#"send {"type":"pong","payload":{"a":1}}"#]
    );
    assert_eq!(play(r#"> {"type":"pong","payload":{"a":1}}"#), [""; 0]);
    assert_eq!(
        play(r#"> {"type":"ping","payload":{"token":"n"}}"#),
        [r#"send {"type":"pong"}"#],
        "a token is not said back"
    );
    assert_eq!(
        ready("> {\"type\":\"ping\",\"payload\":{\"Authorization\":\"Bearer n\"}}\n! refreshed\n> {\"type\":\"ping\"}"),
        [
            r#"send {"type":"pong"}"#,
            r#"verify {"Authorization":"Bearer n"} true"#,
            r#"send {"type":"pong"}"#
        ]
    );
    let told = ready("> {\"type\":\"ping\",\"payload\":{\"token\":\"n\"}}\n! refused");
    assert_eq!(told.last().map(String::as_str), Some("close 4403 Forbidden"));
}

#[test]
fn too_many_at_once_and_too_many_in_a_second() {
    let subscribe = |id: u32| format!(r#"> {{"type":"subscribe","id":"{id}","payload":{{"query":"{{a}}"}}}}"#);
    let told = ready(&format!(
        "{}\n{}\n{}\ndone 1\n{}\ndone 2\ndone 3\n{}\n! second\n{}",
        subscribe(1),
        subscribe(2),
        subscribe(3),
        subscribe(4),
        subscribe(5),
        subscribe(6)
    ));
    let short: Vec<String> = told.iter().map(|line| line.chars().take(32).collect()).collect();
    assert_eq!(short[..2], ["start 1 {a}", "start 2 {a}"]);
    assert!(
        told[2].contains(r#""id":"3","type":"error""#) && told[2].contains("which is the limit"),
        "{told:?}"
    );
    assert!(told[4].starts_with("start 3"), "{told:?}");
    assert!(
        told[7].contains(r#""id":"5","type":"error""#) && told[7].contains("within a second"),
        "{told:?}"
    );
    assert!(told[8].starts_with("start 4"), "{told:?}");
}

#[test]
fn reasons_fit_a_close_frame() {
    let kind = "é".repeat(200);
    let told = play(&format!(r#"> {{"type":"{kind}"}}"#));
    let reason = told[0].strip_prefix("close 4400 ").expect("a close");
    assert!(reason.len() <= 123, "{}", reason.len());
}
/// Any sequence of inputs keeps these: nothing follows a close; a key is started once; what is sent of an operation is sent between its
/// start and its end; never more operations than allowed; an id in use is never started again.
mod any_sequence {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Move {
        Init,
        Accept,
        Subscribe(u8),
        Complete(u8),
        Ping,
        Wait,
        Next(Key),
        Failed(Key),
        Done(Key),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            1 => Just(Move::Ping),
            1 => Just(Move::Wait),
            6 => (0u8..4).prop_map(Move::Subscribe),
            3 => (0u8..4).prop_map(Move::Complete),
            4 => (1u64..12).prop_map(Move::Next),
            1 => (1u64..12).prop_map(Move::Failed),
            3 => (1u64..12).prop_map(Move::Done),
        ];
        // Most sequences begin as they should; in some the beginning comes late, twice or never.
        (any::<bool>(), proptest::collection::vec(one, 0..60), 0usize..60).prop_map(|(proper, mut moves, at)| {
            let at = if proper { 0 } else { at.min(moves.len()) };
            moves.insert(at, Move::Accept);
            moves.insert(at, Move::Init);
            moves
        })
    }

    proptest! {
        #[test]
        fn keeps_the_rules(moves in moves()) {
            let mut protocol = Protocol::new(Limits { operations: 3, starts_per_second: 5 });
            let mut at = Duration::ZERO;
            let mut open: HashMap<Key, String> = HashMap::new();
            let mut started = HashSet::new();
            let mut acked = false;
            let mut closed = false;
            for step in moves {
                let mut subscribed = None;
                let mut ended = None;
                let input = match step {
                    Move::Init => Input::Text(INIT.into(), at),
                    Move::Accept => Input::Accepted { refresh: false },
                    Move::Subscribe(id) => {
                        subscribed = Some(id.to_string());
                        Input::Text(format!(r#"{{"type":"subscribe","id":"{id}","payload":{{"query":"q"}}}}"#), at)
                    }
                    Move::Complete(id) => Input::Text(format!(r#"{{"type":"complete","id":"{id}"}}"#), at),
                    Move::Ping => Input::Text(r#"{"type":"ping"}"#.into(), at),
                    Move::Wait => {
                        at += Duration::from_millis(300);
                        continue;
                    }
                    Move::Next(key) => Input::Next(key, Bytes::from_static(b"{}")),
                    Move::Failed(key) => {
                        ended = Some(key);
                        Input::Failed(key, b"[]".to_vec())
                    }
                    Move::Done(key) => {
                        ended = Some(key);
                        Input::Done(key)
                    }
                };
                let output = protocol.on(input);
                prop_assert!(!closed || output.is_empty(), "after a close: {output:?}");
                for one in output {
                    prop_assert!(!closed, "after a close: {one:?}");
                    match one {
                        Output::Send(text) => {
                            let message: Value = serde_json::from_str(&text).expect("JSON");
                            match (message["type"].as_str(), message["id"].as_str()) {
                                (Some("connection_ack"), None) => {
                                    prop_assert!(!acked);
                                    acked = true;
                                }
                                (Some("pong"), None) => {}
                                (Some("next"), Some(id)) => prop_assert!(open.values().any(|open| open == id)),
                                // An error without a start: a limit.
                                (Some("error"), Some(id)) if ended.is_none() => prop_assert_eq!(Some(id), subscribed.as_deref()),
                                (Some("error" | "complete"), Some(id)) => {
                                    let of = ended.and_then(|key| open.remove(&key));
                                    prop_assert_eq!(of.as_deref(), Some(id));
                                }
                                other => prop_assert!(false, "{other:?}"),
                            }
                        }
                        Output::Close(..) => closed = true,
                        Output::Verify { .. } => prop_assert!(!acked),
                        Output::Start(key, _) => {
                            let id = subscribed.clone().expect("only a subscribe starts");
                            prop_assert!(acked && started.insert(key) && !open.values().any(|open| *open == id));
                            open.insert(key, id);
                            prop_assert!(open.len() <= 3);
                        }
                        Output::Stop(key) => prop_assert!(open.remove(&key).is_some()),
                    }
                }
                prop_assert_eq!(closed, protocol.is_closed());
            }
        }
    }
}
